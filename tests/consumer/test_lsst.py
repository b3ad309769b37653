"""The stream `lsst`: every version's names, faults, the gate, forced photometry, statistics, ids, nights, memory."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.configured import configured_stream, decoder_of
from skimstream.consumer.rekey import key_only, keys_of
from skimstream.consumer.streams.base import Features, night_name
from skimstream.consumer.streams.lsst import Lsst
from skimstream.consumer.streams.lsst_fields import object_features, window
from skimstream.consumer.streams.lsst_state import LsstHistoryState, Rules, object_keys
from skimstream.schemas.columns import Columns
from skimstream.schemas.decode import Decoder
from skimstream.schemas.gather import gather
from skimstream.schemas.installed import installed_schemas
from skimstream.schemas.registry import Registry
from skimstream.scoring.features.flux import FORCED
from skimstream.scoring.features.lightcurve import FEATURES
from skimstream.scoring.words import quantity
from stage.lsst import MJD, VERSIONS, Record, alert, source, types, write_schemas, written

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")

LARGE = (1 << 62) + 1  # no float has these digits


def curve(points: int = 4, **more: Any) -> list[Record]:
    return [source(MJD - points + i, 1_000.0 + 10 * i * i, **more) for i in range(points)]


def columns_of(*records: Record) -> Columns:
    return gather(list(records), Lsst.wanted)


def compute(stream: Lsst, *records: Record) -> Features:
    state = stream.open()
    columns = columns_of(*records)
    if state.entities is not None:
        state.entities.admit(state.keys(columns))
    return state.features(columns)


def outcome(stream: Lsst, *records: Record) -> tuple[int, dict[str, int]]:
    found = compute(stream, *records)
    return len(found.rows), {reason: count for reason, count in found.unscored.items() if count}


def value(found: Features, name: str, row: int = 0) -> float:
    return float(found.matrix[row, Lsst.features.index(name)])


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
def test_all_versions_say_the_same(version: tuple[int, int], tmp_path: Path) -> None:
    band = {} if version[0] < 7 else {"band": None}
    forced = [source(MJD - 9, -5.0), source(MJD - 8, 3.0, **band)]
    current = source(diaSourceId=LARGE, diaObjectId=LARGE + 2, ssObjectId=LARGE + 4)
    record = alert(current, curve(), forced, {"g_Mean": 5.0, "g_Sigma": 2.0, "g_Ndata": 9})
    registry = Registry(folder=write_schemas(tmp_path, version))
    decoded = Decoder(Lsst.wanted, "auto", registry=registry).decode([written(record, *version)])
    assert not decoded.rejected
    columns, stream = decoded.columns, Lsst()
    assert stream.check(columns) == []
    assert (stream.event_id(columns, 0), stream.object_id(columns, 0)) == (str(LARGE), str(LARGE + 2))
    described = stream.describe(columns, 0)
    assert described["ssObjectId"] == str(LARGE + 4)
    assert described["reliability"] == pytest.approx(0.9)
    found, plain = stream.open().features(columns), compute(stream, record)
    assert found.matrix.astype(np.float32).tobytes() == plain.matrix.astype(np.float32).tobytes()
    assert value(found, "r_amplitude") == pytest.approx((1_090 + 5) / 2)  # the forced flux is part of it
    assert value(found, "g_weighted_mean") == 5.0


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [
        ({"diaSourceId": 0}, "invalid", "diaSourceId"),
        ({"diaSourceId": None}, "invalid", "diaSourceId"),
        ({"midpointMjdTai": None}, "non_finite", "midpointMjdTai"),
        ({"midpointMjdTai": float("nan")}, "non_finite", "midpointMjdTai"),
        ({"midpointMjdTai": 1_480_360_995.0}, "invalid", "no MJD"),  # seconds, as in a public sample
        ({"midpointMjdTai": 2_461_365.7}, "invalid", "no MJD"),
        ({"ra": 360.1}, "invalid", "sky"),
        ({"dec": -91.0}, "invalid", "sky"),
        ({"dec": float("inf")}, "non_finite", "dec"),
        ({"band": "w"}, "invalid", "band"),
        ({"band": None}, "invalid", "band"),
    ],
)
def test_alerts_that_cannot_be_are_named(change: Record, reason: str, word: str) -> None:
    columns = columns_of(alert(), alert({**source(), **change}), alert())
    ((row, error),) = Lsst().check(columns)
    assert (row, error.reason) == (1, reason)
    assert word in error.detail


def test_every_alert_is_scorable_or_has_one_reason() -> None:
    assert outcome(Lsst(), alert(earlier=curve())) == (1, {})
    assert outcome(Lsst(), alert(earlier=curve(3))) == (1, {})  # with its own: four
    assert outcome(Lsst(), alert(earlier=curve(2))) == (0, {"too_few_points": 1})
    assert outcome(Lsst(), alert(earlier=curve(3, band="g"))) == (0, {"too_few_points": 1})
    assert outcome(Lsst(), alert(source(reliability=0.49), curve())) == (0, {"gated": 1})
    assert outcome(Lsst(), alert(source(reliability=None), curve())) == (1, {})
    assert outcome(Lsst(), alert(source(flux=None))) == (0, {"no_flux": 1})
    assert outcome(Lsst(), alert(source(flux=None), curve())) == (1, {})
    assert outcome(Lsst(), alert(source(psfFluxErr=0.0), curve())) == (0, {"malformed": 1})


def test_the_rules_are_the_users() -> None:
    settings = load_settings(None, {"stream": "lsst", "lsst": {"min_reliability": 0.95, "min_points": 1}})
    stream = configured_stream(settings)
    assert isinstance(stream, Lsst)
    assert outcome(stream, alert(earlier=curve())) == (0, {"gated": 1})
    assert outcome(stream, alert(source(reliability=0.96))) == (1, {})
    found = compute(stream, alert(source(reliability=0.96)))
    assert np.isfinite(found.matrix).sum() == 8  # what one point defines
    assert outcome(Lsst(Rules(min_points=6)), alert(earlier=curve())) == (0, {"too_few_points": 1})
    with pytest.raises(ConfigError, match=r"lsst\.min_points"):
        load_settings(None, {"lsst": {"min_points": 0}})


def test_bands_are_apart_and_a_poor_one_is_missing() -> None:
    record = alert(source(band="Y"), [*curve(3, band="y"), *curve(3, band="u"), *curve(4, band="g")])
    found = compute(Lsst(), record)
    filled = np.isfinite(found.matrix.reshape(6, len(FEATURES))).all(axis=1)
    assert filled.tolist() == [False, True, False, False, False, True]  # g and y; ELAsTiCC writes it as Y
    assert np.isnan(found.matrix).sum() == 4 * len(FEATURES)


def test_fluxes_keep_their_sign() -> None:
    dip = [source(MJD - 5 + i, flux) for i, flux in enumerate((-500.0, -400.0, 300.0))]
    found = compute(Lsst(), alert(source(flux=-600.0), dip))
    assert value(found, "r_mean") == -300.0
    assert value(found, "r_amplitude") == 450.0


def test_a_window_is_history_then_forced_photometry_then_the_source() -> None:
    record = alert(source(flux=9.0), curve(2), [source(MJD, 8.0), source(MJD - 1, None, "g")])
    made = window(columns_of(alert(source(flux=7.0)), record, alert(earlier=[], forced=[])))
    assert made.offsets.tolist() == [0, 1, 6, 7]
    assert made.flux[1:6].tolist()[:3] == [1_000.0, 1_010.0, 8.0]
    assert np.isnan(made.flux[4])
    assert made.flux[5] == 9.0
    assert made.band.tolist() == [3, 3, 3, 3 + FORCED, 2 + FORCED, 3, 3]
    without = window(columns_of(record), forced=False)
    assert (without.offsets.tolist(), without.band.tolist()) == ([0, 3], [3, 3, 3])


def test_forced_photometry_fills_a_curve_unless_it_is_switched_off() -> None:
    forced = [source(MJD - 20 + i, 30.0 * i) for i in range(6)]
    duplicate = source(MJD, 4_000.0)  # the same visit as the source
    found = compute(Lsst(), alert(source(), forced=[*forced, duplicate]))
    assert value(found, "r_amplitude") == 500.0
    assert outcome(Lsst(Rules(forced=False)), alert(source(), forced=forced)) == (0, {"too_few_points": 1})


def test_statistics_stand_in_where_there_is_no_history() -> None:
    stated = {"r_Mean": 900.0, "r_Sigma": 30.0, "r_Ndata": 11.0, "r_Chi2": 25.0, "r_Min": 850.0, "r_Max": 990.0}
    found = compute(Lsst(), alert(statistics=stated))
    names = {name for name, known in zip(Lsst.features, np.isfinite(found.matrix[0]), strict=True) if known}
    assert names == {"r_weighted_mean", "r_standard_deviation", "r_chi2", "r_amplitude"}
    assert [value(found, f"r_{name}") for name in ("weighted_mean", "standard_deviation", "chi2", "amplitude")] == [
        *(900.0, 30.0),
        2.5,
        70.0,
    ]
    assert outcome(Lsst(), alert(statistics={**stated, "r_Ndata": 3.0})) == (0, {"too_few_points": 1})
    assert outcome(Lsst(), alert(source(psfFluxErr=-1.0), statistics=stated)) == (0, {"malformed": 1})
    whole = compute(Lsst(), alert(earlier=curve(), statistics=stated))  # a history of its own is better
    assert value(whole, "r_weighted_mean") != 900.0


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan"), 1.7e308])
def test_hostile_statistics_are_missing_or_numbers(bad: float) -> None:
    names = ("Mean", "Sigma", "Chi2", "Min", "Max")
    stated = {**{f"r_{name}": bad for name in names}, "r_Ndata": 9.0}
    for changed in (stated, {**stated, "r_Min": -bad}, {**stated, "r_Ndata": bad}):
        found = object_features(columns_of(alert(statistics=changed)), 4)
        assert not np.isinf(found).any()


def test_keys_fall_back_from_object_to_solar_system_to_source() -> None:
    ids = [(5, 6), (0, 6), (None, 5), (None, None), (0, 0), (-1, 0)]
    columns = columns_of(
        *(alert(source(diaSourceId=9, diaObjectId=object_id, ssObjectId=solar)) for object_id, solar in ids)
    )
    stream = Lsst()
    assert [stream.object_id(columns, row) for row in range(6)] == ["5", "6", "5", "9", "9", "9"]
    keys = object_keys(columns).tolist()
    assert keys == [5, 6 | 1 << 63, 5 | 1 << 63, 0, 0, 0]  # 5 and 5 aren't one object


def test_rekeying_goes_by_the_objects_digits(tmp_path: Path) -> None:
    wanted = key_only(Lsst.wanted, Lsst.key_field)
    assert wanted.paths == ("diaSource.diaObjectId",)
    registry = Registry(folder=write_schemas(tmp_path, (3, 0), (11, 1)))
    records = [alert(source(diaObjectId=one)) for one in (LARGE, None, 3)]
    messages = [written(record, 3 if i else 11, 0 if i else 1) for i, record in enumerate(records)]
    decoded = Decoder(wanted, "auto", registry=registry).decode([*messages, b"rubbish"])
    assert keys_of(decoded, Lsst.key_field, 4) == [str(LARGE).encode(), None, b"3", None]


def test_nights_run_from_noon_to_noon_utc() -> None:
    times = (61_364.51, 61_365.2, 61_365.49, 61_365.51)
    nights = Lsst().nights(columns_of(*(alert(source(mjd)) for mjd in times)))
    assert [night_name(night) for night in nights.tolist()] == [*["2026-11-20"] * 3, "2026-11-21"]
    assert Lsst().times(columns_of(alert(source(40_588.5)))).tolist() == [1.5 * 86_400]


def test_features_have_names_and_units() -> None:
    assert len(Lsst.features) == len(Lsst.units) == 6 * len(FEATURES) == 156
    units = dict(zip(Lsst.features, Lsst.units, strict=True))
    assert (units["u_amplitude"], units["y_maximum_slope"], units["g_skew"]) == ("nJy", "nJy/day", "1")
    assert quantity(-1234.5, units["r_linear_trend"]) == "-1234 nJy/day"


def test_people_see_the_packets_curve_detections_and_forced_photometry() -> None:
    forced = [source(MJD - 1, 8.0), source(MJD - 5, None), source(MJD - 4, band="w"), source(MJD - 4, float("inf"))]
    columns = columns_of(alert(), alert(source(flux=-9.876), curve(2, band="g"), forced))
    assert Lsst().light_curve(columns, 1) == {
        "jd": [round(MJD + day + 2_400_000.5, 6) for day in (-2, -1, -1, 0)],
        "band": ["g", "g", "r", "r"],
        "flux": [1_000.0, 1_010.0, 8.0, -9.88],
        "sigma": [50.0] * 4,
        "forced": [False, False, True, False],
    }


def test_an_object_is_remembered_by_band_and_kind() -> None:
    stream = Lsst(history="state")
    alone = [alert(source(MJD + i, 1_000.0 + i * i)) for i in range(5)]
    other = alert(source(MJD + 2.5, 5.0, diaObjectId=8))
    found = compute(stream, *alone[:3], other, *alone[3:])
    assert found.rows.tolist() == [4, 5]
    whole = compute(Lsst(), alert(alone[4]["diaSource"], [one["diaSource"] for one in alone[:4]]))
    assert found.matrix[1].tobytes() == whole.matrix[0].tobytes()


def test_bogus_alerts_and_those_of_no_object_teach_nothing() -> None:
    stream = Lsst(history="state")
    state = stream.open()
    assert isinstance(state, LsstHistoryState)
    columns = columns_of(
        alert(source(reliability=0.1), curve()),
        alert(source(diaObjectId=None), curve()),
        alert(source(diaObjectId=None, ssObjectId=4), curve()),
    )
    assert state.entities is not None
    state.entities.admit(state.keys(columns))
    state.features(columns)
    keys, _, rows = state.history.entities.changes()
    assert keys.tolist() == [4 | 1 << 63]
    assert rows["count"].tolist() == [5]


def in_batches(records: Sequence[Record], sizes: Sequence[int]) -> bytes:
    state = Lsst(history="state").open()
    parts, at = [], 0
    for size in sizes:
        columns = columns_of(*records[at : at + size])
        assert state.entities is not None
        state.entities.admit(state.keys(columns))
        parts.append(state.features(columns).matrix.tobytes())
        at += size
    return b"".join(parts)


def test_batches_change_nothing() -> None:
    records = [
        alert(source(MJD + i, 100.0 * (i % 7), diaObjectId=1 + i % 3), forced=[source(MJD + i - 0.5, 1.0 * i)])
        for i in range(40)
    ]
    assert in_batches(records, [40]) == in_batches(records, [1] * 40) == in_batches(records, [3, 20, 17]) != b""


def test_the_users_own_install_of_the_surveys_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == "lsst"]:
        monkeypatch.delitem(sys.modules, name)
    assert installed_schemas() is None
    package = tmp_path / "lsst" / "alert" / "packet"
    write_schemas(package / "schema", (7, 4), (11, 1))
    (package / "__init__.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_schemas() == package / "schema"
    stream = Lsst()
    decoder = decoder_of(load_settings(None, {"stream": "lsst"}), stream)
    decoded = decoder.decode([written(alert(), 7, 4), written(alert(), 11, 1), written(alert(), 9, 0)])
    assert len(decoded.columns) == 2
    assert [(one.index, one.error.reason) for one in decoded.rejected] == [(2, "schema_unknown")]
    for name in [one for one in sys.modules if one.partition(".")[0] == "lsst"]:
        monkeypatch.delitem(sys.modules, name)


@needs_shared
def test_statistics_are_what_the_surveys_pipeline_makes_of_its_own_sources() -> None:
    """On all bands of real alerts where the packet holds every source that the statistics are of."""
    compared = 0
    for file in (SHARED / "data" / "lsst").glob("*_nocutouts.avro"):
        with file.open("rb") as opened:
            records: list[Any] = list(fastavro.reader(opened))
        columns = columns_of(*records)
        stated = object_features(columns, 2)
        own = Lsst(Rules(min_reliability=0.0, min_points=2, forced=False)).open().features(columns)
        computed = own.matrix.reshape(-1, *stated.shape[1:])
        for name in ("weighted_mean", "standard_deviation", "chi2", "amplitude"):
            place = FEATURES.index(name)
            left, right = stated[own.rows][:, :, place], computed[:, :, place]
            both = np.isfinite(left) & np.isfinite(right)
            np.testing.assert_allclose(left[both], right[both], rtol=2e-5)  # of float32, with a mean taken off
            compared += int(both.sum())
    assert compared > 100


def test_own_schemas_follow_the_drift() -> None:
    """Our schemas are a fixture: the names that the survey changed are in the versions that changed them."""

    def fields(version: tuple[int, int], kind: str) -> set[str]:
        found = types(*version)[f"lsst.v{version[0]}_{version[1]}.{kind}"]
        return {field["name"] for field in found["fields"]}

    assert {"midPointTai", "psFlux", "filterName", "decl", "spuriousness"} <= fields((4, 0), "diaSource")
    assert {"midpointMjdTai", "psfFlux", "band", "dec", "reliability"} <= fields((5, 0), "diaSource")
    assert "uPSFluxChi2" in fields((3, 0), "diaObject")
    assert "u_psfFluxMax" in fields((8, 0), "diaObject") - fields((7, 4), "diaObject")
    assert "u_psfFluxChi2" in fields((7, 4), "diaObject") - fields((8, 0), "diaObject")
