"""Injection into real cadences: limits are kept, errors follow the relation, nothing else changes."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.producer.archive import messages
from skimstream.producer.encode import plain
from skimstream.producer.hosts import MEASURED, ErrorRelation, Host, distinct, host_of
from skimstream.producer.implant import alert_of, implant
from skimstream.producer.schema import load
from skimstream.producer.shapes import NOTHING, SHAPES, Shape, flux
from skimstream.producer.simulate.night import simulate_night
from skimstream.schemas.reader import read_records

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
NAME, CANDID = "ZTF26zzzzzzz", 5 * 10**18


def simulated() -> list[Host]:
    alerts = simulate_night(3, date(2026, 11, 21), 400, 0.0)
    return distinct(host for host in (host_of(alert.record) for alert in alerts) if host)


HOSTS = simulated()
names, seeds, hosts = st.sampled_from(sorted(SHAPES)), st.integers(0, 2**32), st.sampled_from(HOSTS)


def steady(size: float) -> Shape:
    """A source of constant flux, everywhere."""
    return Shape(lambda rng: lambda days, fid, star: np.full(len(days), size), "any")


@given(hosts, st.sampled_from([0.0, 365.0, -4_000.0]))
@settings(deadline=None)
def test_nothing_added_leaves_the_packet_as_it_was(host: Host, days: float) -> None:
    made = implant(np.random.default_rng(1), host, NOTHING, MEASURED, host.name, 1, "control", days)
    last, own = made.alerts[-1].record, alert_of(host, days).record
    for record in (last, own):
        record["candid"] = record["candidate"]["candid"] = 0
    assert last == own
    assert sum(made.points[-1:]) == host.detected.sum()


@given(hosts, names, seeds)
@settings(deadline=None)
def test_limits_decide_what_is_a_detection(host: Host, name: str, seed: int) -> None:
    shape = SHAPES[name]
    made = implant(np.random.default_rng(seed), host, shape, MEASURED, NAME, CANDID, name)
    added = shape.draw(np.random.default_rng(seed))(host.jd - host.jd[-1], host.fid, host.star)
    for alert in made.alerts[-1:]:
        rows = [*(alert.record["prv_candidates"] or []), alert.record["candidate"]]
        for row, before, extra in zip(rows, host.rows, added.tolist(), strict=len(rows) == len(host.rows)):
            if not extra:
                assert {key: row[key] for key in before if key != "candid"} == {
                    key: value for key, value in before.items() if key != "candid"
                }
            elif row["magpsf"] is not None:
                assert row["magpsf"] <= row["diffmaglim"]
                assert row["sigmapsf"] > 0
            else:
                assert all(row[key] is None for key in ("candid", "sigmapsf", "isdiffpos", "ra", "rb", "magnr"))
            assert (row["jd"], row["fid"], row["diffmaglim"]) == (before["jd"], before["fid"], before["diffmaglim"])


@given(hosts, names, seeds)
@settings(deadline=None)
def test_alerts_come_one_a_detection_and_know_their_past_alone(host: Host, name: str, seed: int) -> None:
    made = implant(np.random.default_rng(seed), host, SHAPES[name], MEASURED, NAME, CANDID, name)
    assert len(made.alerts) == len(made.points)
    assert 0 <= made.tonight <= len(made.alerts)
    assert len({alert.event_id for alert in made.alerts}) == len(made.alerts)
    for alert in made.alerts[-1:]:
        data = plain(alert.record, load("ztf_like"))  # it fits the schema
        assert name.encode() not in data
    for alert, points in zip(made.alerts, made.points, strict=True):
        assert (alert.key, alert.truth) == (NAME, name)
        history, now = alert.record["prv_candidates"] or [], alert.record["candidate"]["jd"]
        assert all(now - 30 <= row["jd"] <= now for row in history)
        assert points == 1 + sum(row["magpsf"] is not None for row in history)
        assert alert.record["candidate"]["magpsf"] is not None
    if SHAPES[name].bogus and made.alerts:
        candidate = made.alerts[-1].record["candidate"]
        assert len(made.alerts) == 1
        assert candidate["jd"] == host.jd[-1]


def test_artefacts_look_bogus_mostly() -> None:
    suited = [host for host in HOSTS if host.suits(SHAPES["artefact"])]
    made = [
        implant(np.random.default_rng(seed), suited[seed % len(suited)], SHAPES["artefact"], MEASURED, NAME, 1, "")
        for seed in range(400)
    ]
    found = [one.alerts[0].record["candidate"] for one in made if one.alerts]
    assert len(found) > 380
    assert 0.02 < np.mean([row["rb"] >= 0.55 for row in found]) < 0.15
    assert 0.4 < np.mean([row["nbad"] > 0 for row in found]) < 0.6
    assert np.median([row["drb"] for row in found]) < 0.3


def test_errors_and_noise_follow_the_relation() -> None:
    """Where nothing was found before: magnitude errors are the relation's, and the scatter about the flux is theirs."""
    size, pulls = 3.0, []
    for seed, host in enumerate(HOSTS):
        made = implant(np.random.default_rng(seed), host, steady(size), MEASURED, NAME, CANDID, "")
        record = made.alerts[-1].record
        rows = [*(record["prv_candidates"] or []), record["candidate"]]
        for i, row in enumerate(rows if len(rows) == len(host.rows) else []):
            if row["magpsf"] is not None and not host.detected[i]:
                measured = float(flux(row["magpsf"]))
                error = MEASURED.error(np.array([size]), host.limit[i : i + 1])[0]
                assert row["sigmapsf"] / 1.0857 * measured == pytest.approx(error, rel=1e-5)
                pulls.append((measured - size) / error)
    assert len(pulls) > 1_000
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.1)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.06)


def test_on_top_of_a_detection_the_rows_own_error_grows() -> None:
    host = next(host for host in HOSTS if host.detected.sum() > 5 and host.positive[host.detected].all())
    (size, error), more = host.difference, 5.0
    grown = MEASURED.error(size + more, host.limit) / MEASURED.error(size, host.limit)
    made = implant(np.random.default_rng(1), host, steady(more), MEASURED, NAME, CANDID, "")
    rows = [*made.alerts[-1].record["prv_candidates"], made.alerts[-1].record["candidate"]]
    for i in np.flatnonzero(host.detected).tolist():
        assert rows[i]["sigmapsf"] / 1.0857 * flux(rows[i]["magpsf"]) == pytest.approx(error[i] * grown[i], rel=1e-5)
        assert abs(flux(rows[i]["magpsf"]) - size[i] - more) < 6 * error[i] * grown[i]


def test_faint_flux_leaves_upper_limits() -> None:
    for seed, host in enumerate(HOSTS[:50]):
        made = implant(np.random.default_rng(seed), host, steady(1e-6), MEASURED, NAME, CANDID, "")
        if made.alerts and made.alerts[-1].record["candidate"]["jd"] == host.jd[-1]:
            rows = [*(made.alerts[-1].record["prv_candidates"] or []), made.alerts[-1].record["candidate"]]
            assert all(row["magpsf"] is None for row, was in zip(rows, host.detected, strict=True) if not was)


def test_whole_days_change_nothing_but_times() -> None:
    host = max(HOSTS, key=lambda host: len(host.rows))
    for shape in SHAPES.values():
        here, there = (
            implant(np.random.default_rng(2), host, shape, MEASURED, NAME, CANDID, "", days) for days in (0.0, 2_912.0)
        )
        for one, other in zip(here.alerts, there.alerts, strict=True):
            for row in (other.record["candidate"], *(other.record["prv_candidates"] or [])):
                for key in ("jd", "jdstarthist", "jdendhist"):
                    if row.get(key) is not None:
                        row[key] -= 2_912.0
            assert one.record == other.record


def test_places_suit_shapes() -> None:
    for host in HOSTS:
        if host.suits(SHAPES["supernova"]):
            assert host.candidate["rb"] >= 0.55
            assert not host.on_reference or host.star.max() < flux(17.0)
        if host.suits(SHAPES["microlensing"]):
            assert host.star.min() > 0
    assert all(any(host.suits(shape) for host in HOSTS) for shape in SHAPES.values())


def test_a_relation_is_fitted_and_never_falls() -> None:
    fitted = ErrorRelation.fit(HOSTS)
    assert fitted.ratio == tuple(sorted(fitted.ratio))
    assert fitted.ratio[0] >= 1
    assert fitted.signal == tuple(sorted(fitted.signal))
    assert ErrorRelation.fit(HOSTS[:2]) == MEASURED
    # The simulator's own: sqrt(1 + (0.035 s)^2), for all but noisy subtractions.
    at = MEASURED.error(np.array([40 * 0.2]), np.array([20.0])) / 0.2
    assert 1.5 < at[0] < 3.5


def test_what_lacks_ids_or_limits_is_no_host() -> None:
    record = alert_of(HOSTS[0]).record
    assert host_of(record) is not None
    assert host_of(record | {"objectId": None}) is None
    assert host_of(record | {"candidate": None}) is None
    assert host_of(record | {"candidate": record["candidate"] | {"magpsf": None}}) is None
    assert host_of(record | {"candidate": record["candidate"] | {"diffmaglim": None}}) is None


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_alerts_are_hosts_and_the_measured_relation_is_theirs() -> None:
    found = []
    for _, data in messages([SHARED / "data/ztf/kowalski_v3.3_v4.01_36.tar.gz"]):
        found += [host_of(record) for record in read_records(data)]
    assert len(found) == 36
    kept = distinct(host for host in found if host)
    assert len(kept) == 35
    fitted = ErrorRelation.fit(kept)
    at = np.array([6.0, 12.0, 30.0, 100.0])
    limit = np.full(4, 20.0)
    np.testing.assert_allclose(
        fitted.error(at / 5, limit), MEASURED.error(at / 5, limit), rtol=0.5
    )  # one exposure and a dozen others, against all
