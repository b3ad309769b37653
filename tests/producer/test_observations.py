"""Made-up archive records: lawful, repeatable, and false where they are meant to be."""

from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise

import fastavro
import numpy as np
import pytest

from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.observations import ALL, FAULTS, falsify, pointing, simulate_observations, sun
from skimstream.scoring.features.observation import solar_elongation

START = datetime(2026, 11, 21, tzinfo=UTC)
RECORDS = list(simulate_observations(1, START, 3_000, 0.1))
TOUCHED = {
    "ra": {"s_ra"},
    "dec": {"s_dec"},
    "times": {"t_min", "t_max"},
    "exposure": {"t_exptime"},
    "band": {"em_min", "em_max"},
}


def test_the_same_call_gives_the_same_records_and_another_seed_others() -> None:
    assert list(simulate_observations(1, START, 200, 0.1)) == RECORDS[:200]
    assert list(simulate_observations(2, START, 200, 0.1)) != RECORDS[:200]


def test_records_fit_their_schema_and_keep_their_values() -> None:
    schema = load("observation")
    for event in RECORDS[:300]:
        read = fastavro.schemaless_reader(BytesIO(plain(event.record, schema)), schema.parsed, None)
        assert isinstance(read, dict)
        when = read.pop("ingest_ts")  # fastavro makes a datetime of it
        assert {**event.record, "ingest_ts": None} == {**read, "ingest_ts": None}
        assert (when is None) == (event.record["ingest_ts"] is None)


def test_they_come_in_the_order_of_their_release_and_every_id_is_new() -> None:
    assert all(before.event_time <= after.event_time for before, after in pairwise(RECORDS))
    assert len({event.event_id for event in RECORDS}) == len(RECORDS)
    for event in RECORDS:
        release = event.record["t_obs_release"]
        if release is not None:
            assert (release - 40_587) * 86_400 == pytest.approx(event.event_time, abs=0.01)


def test_true_records_are_lawful_and_some_are_planned() -> None:
    true = [event.record for event in RECORDS if event.truth is None]
    planned = [record for record in true if record["t_min"] is None]
    made = [record for record in true if record["t_min"] is not None]
    assert 5 < len(planned) < 0.06 * len(true)
    assert all(record["calib_level"] == -1 and record["t_obs_release"] is None for record in planned)
    ra, dec, begin = (np.array([record[name] for record in made]) for name in ("s_ra", "s_dec", "t_min"))
    elongation = solar_elongation(ra, dec, begin)
    assert elongation.min() > 84.5
    assert elongation.max() < 135.5
    assert all(record["t_min"] <= record["t_max"] <= record["t_obs_release"] for record in made)


def test_the_share_of_falsehoods_is_as_asked_and_every_kind_occurs() -> None:
    kinds = [event.truth for event in RECORDS if event.truth is not None]
    assert 0.08 < len(kinds) / len(RECORDS) < 0.12
    assert set(kinds) == {*FAULTS, ALL}
    assert not any(event.truth for event in simulate_observations(1, START, 500, 0.0))


@pytest.mark.parametrize("kind", [*FAULTS, ALL])
def test_a_falsehood_changes_its_fields_alone(kind: str) -> None:
    record = next(event.record for event in RECORDS if event.truth is None and event.record["t_min"] is not None)
    before = dict(record)
    changed = falsify(np.random.default_rng(0), record, kind)
    assert record == before
    touched = {name for name in record if changed[name] != record[name]}
    assert touched == (set().union(*TOUCHED.values()) if kind == ALL else TOUCHED[kind])


def test_what_is_null_stays_null() -> None:
    planned = next(event.record for event in RECORDS if event.record["t_min"] is None)
    assert falsify(np.random.default_rng(0), {**planned, "em_min": None}, ALL)["t_min"] is None


def test_the_two_suns_agree() -> None:
    """The simulator may not import the detector's: they were written apart, so that one can test the other."""
    rng = np.random.default_rng(3)
    for mjd in rng.uniform(59_000, 66_000, 50).tolist():
        ra, dec = sun(mjd)
        assert solar_elongation(np.array([ra]), np.array([dec]), np.array([mjd]))[0] < 1e-4
        place = pointing(rng, mjd)
        assert 86 <= solar_elongation(*(np.array([angle]) for angle in (*place, mjd)))[0] <= 134


@pytest.mark.parametrize("wrong", [{"start": datetime(2026, 11, 21)}, {"events": -1}, {"anomaly_rate": 1.5}])
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need"):
        list(simulate_observations(**{"seed": 1, "start": START, "events": 1, **wrong}))  # type: ignore[arg-type]
