"""The window rules and the 26 features, against Fink's stored values, plain arithmetic and hostile numbers."""

import gzip
import importlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import light_curve
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.schemas.errors import SkimError
from skimstream.scoring.features import lightcurve
from skimstream.scoring.features.lightcurve import FEATURES, LightCurveFeatures, lightcurve_features, usable
from skimstream.scoring.features.window import (
    POGSON,
    Floats,
    Window,
    WindowError,
    apparent_magnitude,
    band_curves,
)

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
GOLDEN = SHARED / "data/fink/fink_ztf_golden_dev.jsonl.gz"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared")

NAN = math.nan
FLOAT_COLUMNS = ("jd", "magpsf", "sigmapsf", "distnr", "magnr", "sigmagnr")
IN_ZTF = {"band": "fid", "positive": "isdiffpos"}


class Row(NamedTuple):
    """One row of a window; by default a detection far from any reference source."""

    jd: float
    magpsf: float = 18.0
    band: int = 1
    sigmapsf: float = 0.1
    distnr: float = 9.0
    magnr: float = NAN
    sigmagnr: float = NAN
    positive: bool = True


def window_of(offsets: Sequence[int], column: Callable[[str], list[Any]]) -> Window:
    floats = {name: np.array(column(name), np.float64) for name in FLOAT_COLUMNS}
    band, positive = np.array(column("band"), np.int64), np.array(column("positive"), np.bool_)
    return Window(np.array(offsets, np.int64), **floats, band=band, positive=positive)


def window(*alerts: Sequence[Row]) -> Window:
    rows = [row for alert in alerts for row in alert]
    return window_of([0, *accumulate(map(len, alerts))], lambda name: [getattr(row, name) for row in rows])


def features_of(*alerts: Sequence[Row]) -> LightCurveFeatures:
    return lightcurve_features(window(*alerts))


def curve(alert: Sequence[Row], band: int = 1) -> tuple[Floats, Floats, Floats]:
    """Times, magnitudes and errors of one alert's curve in one band."""
    curves = band_curves(window(alert), [band])
    return curves.jd, curves.magnitude, curves.sigma


def assert_same_bits(one: LightCurveFeatures, other: LightCurveFeatures) -> None:
    for field in fields(LightCurveFeatures):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes(), field.name


def joined(parts: Sequence[LightCurveFeatures]) -> LightCurveFeatures:
    names = [field.name for field in fields(LightCurveFeatures)]
    return LightCurveFeatures(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


# --- Fink's stored values ---------------------------------------------------------------------------------------------

# Fink 5.7 did not yet drop rows of equal time, so its extractor refused this r curve, which holds two rows of
# JD 2460422.8938079, and null was stored. From fink-science #568 on it is computed, as here.
UNSORTED_IN_FINK_5_7 = (2675307923715010010, 1)


def golden() -> tuple[list[dict[str, Any]], Window]:
    with gzip.open(GOLDEN, "rt") as lines:
        alerts = [json.loads(line) for line in lines]

    def column(name: str) -> list[Any]:
        values = [value for alert in alerts for value in alert["lc"][IN_ZTF.get(name, name)]]
        return [value in ("t", "1") for value in values] if name == "positive" else values

    return alerts, window_of([0, *accumulate(len(alert["lc"]["jd"]) for alert in alerts)], column)


@needs_golden
def test_features_agree_with_every_value_fink_stored() -> None:
    alerts, windows = golden()
    features = lightcurve_features(windows)
    names = ("lc_features_g", "lc_features_r")
    stored = np.array([[alert[name] or [None] * 26 for name in names] for alert in alerts], np.float64)

    exception = [alert["candid"] for alert in alerts].index(UNSORTED_IN_FINK_5_7[0]), UNSORTED_IN_FINK_5_7[1]
    assert np.isnan(stored[exception]).all()
    assert usable(features)[exception]
    stored[exception] = features.values[exception]

    assert stored.shape == (117, 2, 26)
    assert np.array_equal(np.isnan(stored), np.isnan(features.values))
    difference = np.abs(features.values - stored)
    difference = np.fmin(difference, difference / np.where(stored == 0, np.inf, np.abs(stored)))
    worst = np.unravel_index(np.nanargmax(difference), difference.shape)
    print(f"worst of {np.isfinite(stored).sum()}: {FEATURES[worst[2]]} of alert {worst[0]}, {difference[worst]:.1e}")
    assert difference[worst] < 1e-12


@needs_golden
def test_a_band_is_absent_exactly_where_fink_gave_the_score_zero() -> None:
    """Until October 2025 Fink scored 0.0 whatever lacked one of the two bands, upper limits included."""
    alerts, windows = golden()
    zero = np.array([alert.get("anomaly_score") == 0.0 for alert in alerts])
    zero[[alert["candid"] for alert in alerts].index(UNSORTED_IN_FINK_5_7[0])] = False
    assert zero.sum() == 9
    assert np.array_equal(lightcurve_features(windows).present.all(axis=1), ~zero)


@needs_golden
def test_the_order_of_the_features_is_that_of_the_stored_ones() -> None:
    assert list(FEATURES) == json.loads((GOLDEN.parent / "feature_names.json").read_text())


# --- which rows, in which order ---------------------------------------------------------------------------------------


def test_upper_limits_make_a_band_present_and_add_no_detection() -> None:
    limit, no_error = Row(1.0, NAN, band=2, sigmapsf=NAN), Row(2.0, band=2, sigmapsf=NAN)
    features = features_of([limit, no_error, Row(3.0)], [Row(1.0, band=3)], [])
    assert features.present.tolist() == [[True, True], [False, False], [False, False]]
    assert features.detections.tolist() == [[1, 0], [0, 0], [0, 0]]
    assert np.isnan(features.values[0, 1]).all()
    assert not np.isnan(features.values[0, 0]).all()


def test_rows_are_sorted_and_the_first_of_equal_times_is_kept() -> None:
    rows = [Row(3.0, 18.3), Row(1.0, 18.1), Row(3.0, 18.9), Row(3.0, 17.0, band=2), Row(2.0, 18.2), Row(1.0, 18.8)]
    jd, magnitude, _ = curve(rows)
    assert jd.tolist() == [1.0, 2.0, 3.0]
    assert magnitude.tolist() == [18.1, 18.2, 18.3]
    assert curve(rows, band=2)[1].tolist() == [17.0]


def test_a_row_that_does_not_count_hides_no_other_of_its_time() -> None:
    gone = Row(1.0, 16.0, magnr=17.0, sigmagnr=0.1, distnr=0.5, positive=False)
    assert curve([gone, Row(1.0, 18.0, magnr=17.0, sigmagnr=0.1)])[0].tolist() == [1.0]


def test_no_alerts_and_no_rows() -> None:
    assert features_of().values.shape == (0, 2, 26)
    assert np.isnan(features_of([], []).values).all()


def test_bands_come_in_the_order_asked() -> None:
    alert = [Row(1.0, 18.0), Row(1.0, 17.0, band=2), Row(1.0, 16.0, band=3)]
    assert lightcurve_features(window(alert), (3, 1)).values[0, :, 0].tolist() == [16.0, 18.0]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"offsets": np.array([0, 1])}, "offsets"),
        ({"offsets": np.array([1, 2])}, "offsets"),
        ({"offsets": np.array([0, 2, 1, 2])}, "offsets"),
        ({"offsets": np.array([], np.int64)}, "offsets"),
        ({"magnr": np.zeros(3)}, "magnr"),
        ({"band": np.zeros((2, 1), np.int64)}, "band"),
    ],
)
def test_columns_that_do_not_fit_are_refused(change: dict[str, Any], column: str) -> None:
    with pytest.raises(WindowError, match=column) as caught:
        replace(window([Row(1.0), Row(2.0)]), **change)
    assert caught.value.column == column
    assert isinstance(caught.value, SkimError)


# --- difference or apparent magnitudes --------------------------------------------------------------------------------

HALF = 2.5 * math.log10(2)  # magnitudes between a flux and twice that flux


def test_apparent_magnitude_by_hand() -> None:
    # Fluxes in units of f = 10^(-0.4 * 20), errors in f / 1.0857: the difference is 1 +- 0.1 throughout.
    rows = [
        Row(1.0, 20.0, distnr=0.5, magnr=20.0, sigmagnr=0.05),  # 1 + 1, error sqrt(0.1^2 + 0.05^2) of 2
        Row(
            2.0, 20.0, magnr=20.0 - HALF, sigmagnr=0.05, positive=False
        ),  # 2 - 1, error sqrt(0.1^2 + (2 * 0.05)^2) of 1
        Row(3.0, 20.0, magnr=20.0, sigmagnr=0.05, positive=False),  # 1 - 1: no flux left
        Row(4.0, 20.0, magnr=20.5, sigmagnr=0.05, positive=False),  # negative flux
        Row(5.0, 20.0, magnr=NAN, sigmagnr=0.05),
        Row(6.0, 20.0, magnr=20.0, sigmagnr=NAN),
        Row(7.0, 20.0, magnr=-999.0, sigmagnr=0.05),  # ZTF's "none"
    ]
    jd, magnitude, sigma = curve(rows)
    assert jd.tolist() == [1.0, 2.0]
    assert magnitude == pytest.approx([20.0 - HALF, 20.0], rel=1e-14)
    assert sigma == pytest.approx([math.sqrt(0.0125) / 2, math.sqrt(0.02)], rel=1e-14)


@pytest.mark.parametrize(
    ("witness", "apparent"),
    [
        (Row(2.0, distnr=0.0), True),
        (Row(2.0, distnr=1.5), True),
        (Row(2.0, distnr=1.5, band=2), True),
        (Row(2.0, distnr=1.5, band=3), True),  # any band, even one that isn't asked for
        (Row(2.0, distnr=1.5000001), False),
        (Row(2.0, distnr=-999.0), False),
        (Row(2.0, distnr=NAN), False),
        (Row(2.0, NAN, distnr=0.5), False),  # an upper limit decides nothing
        (Row(2.0, sigmapsf=NAN, distnr=0.5), False),
    ],
)
def test_one_row_on_a_reference_source_converts_its_whole_alert(witness: Row, apparent: bool) -> None:
    plain = Row(1.0, 20.0, magnr=20.0, sigmagnr=0.05)
    curves = band_curves(window([plain], [plain, witness], [plain]))
    first = curves.magnitude[curves.offsets[[0, 2, 4]]]
    assert first == pytest.approx([20.0, 20.0 - HALF if apparent else 20.0, 20.0])


def plain_apparent(magpsf: float, sigmapsf: float, magnr: float, sigmagnr: float, positive: bool) -> list[float]:
    if not magnr >= 0:
        return [NAN, NAN]
    difference, reference = math.pow(10, -0.4 * magpsf), math.pow(10, -0.4 * magnr)
    flux = reference + (difference if positive else -difference)
    difference_noise, reference_noise = sigmapsf / POGSON * difference, sigmagnr / POGSON * reference
    noise = math.sqrt(difference_noise * difference_noise + reference_noise * reference_noise)  # pow(x, 2) isn't x * x
    return [-2.5 * math.log10(flux), POGSON * (noise / flux)] if flux > 0 else [NAN, NAN]


def test_apparent_magnitude_is_the_plain_arithmetic_to_the_last_bit() -> None:
    """So no vectorised pow or log10, whose last bit depends on the processor, has crept in."""
    rng = np.random.default_rng(1)
    size = 5000
    magpsf, magnr = rng.uniform(12, 22, size), rng.uniform(-1, 24, size)
    sigmapsf, sigmagnr = rng.uniform(0.01, 0.3, (2, size))
    positive = rng.random(size) < 0.5
    got = np.array(apparent_magnitude(magpsf, sigmapsf, magnr, sigmagnr, positive)).T
    columns = (column.tolist() for column in (magpsf, sigmapsf, magnr, sigmagnr, positive))
    expected = np.array([plain_apparent(*row) for row in zip(*columns, strict=True)])
    assert np.isnan(expected).any()
    assert np.array_equal(got, expected, equal_nan=True)


# --- the features -----------------------------------------------------------------------------------------------------

NEED_DIFFERENT_POINTS = {
    "cusum",
    "kurtosis",
    "magnitude_percentage_ratio_40_5",
    "magnitude_percentage_ratio_20_10",
    "anderson_darling_normal",
    "skew",
    "stetson_K",
}
OF_ONE_POINT = {
    "mean",
    "weighted_mean",
    "median",
    "amplitude",
    "inter_percentile_range_10",
    "median_absolute_deviation",
    "median_buffer_range_percentage_10",
    "percent_amplitude",
}
FROM_THREE_POINTS = {name for name in FEATURES if name.startswith("linear_")} | {"skew"}
FROM_FOUR_POINTS = {"kurtosis", "anderson_darling_normal"}


def nulls(magnitudes: Sequence[float]) -> set[str]:
    values = features_of([Row(float(day), magnitude) for day, magnitude in enumerate(magnitudes, start=1)]).values[0, 0]
    return {name for name, value in zip(FEATURES, values, strict=True) if math.isnan(value)}


def test_nulls_of_short_curves() -> None:
    everything, magnitudes = set(FEATURES), [18.0, 18.3, 17.9, 18.8, 18.1, 18.2]
    assert nulls([]) == everything
    assert nulls(magnitudes[:1]) == everything - OF_ONE_POINT
    assert nulls(magnitudes[:2]) == FROM_THREE_POINTS | FROM_FOUR_POINTS
    assert nulls(magnitudes[:3]) == FROM_FOUR_POINTS
    assert [26 - len(nulls(magnitudes[:n])) for n in range(7)] == [0, 8, 17, 24, 26, 26, 26]


def test_nulls_of_flat_curves() -> None:
    assert nulls([18.0] * 5) == NEED_DIFFERENT_POINTS
    assert nulls([18.0] * 3) == NEED_DIFFERENT_POINTS
    assert nulls([18.0] * 2) == NEED_DIFFERENT_POINTS | FROM_THREE_POINTS
    ratios = {name for name in FEATURES if name.startswith("magnitude_percentage_ratio")}
    assert nulls([18.0] * 30 + [17.0]) == ratios


REFERENCE: dict[str, Callable[[Floats, Floats, Floats], float]] = {
    "mean": lambda t, m, w: m.mean(),
    "weighted_mean": lambda t, m, w: np.average(m, weights=w),
    "standard_deviation": lambda t, m, w: m.std(ddof=1),
    "median": lambda t, m, w: np.median(m),
    "amplitude": lambda t, m, w: np.ptp(m) / 2,
    "beyond_1_std": lambda t, m, w: np.mean(np.abs(m - m.mean()) > m.std(ddof=1)),
    "cusum": lambda t, m, w: np.ptp(np.cumsum(m - m.mean())) / (m.std(ddof=1) * len(m)),
    "linear_trend": lambda t, m, w: np.polyfit(t - t.mean(), m - m.mean(), 1)[0],
    "linear_fit_slope": lambda t, m, w: np.polyfit(t - t.mean(), m - m.mean(), 1, w=np.sqrt(w))[0],
    "linear_fit_slope_sigma": lambda t, m, w: 1 / np.sqrt(np.sum(w * (t - np.average(t, weights=w)) ** 2)),
    "maximum_slope": lambda t, m, w: np.abs(np.diff(m) / np.diff(t)).max(),
    "median_absolute_deviation": lambda t, m, w: np.median(np.abs(m - np.median(m))),
    "percent_amplitude": lambda t, m, w: np.abs(m - np.median(m)).max(),
    "mean_variance": lambda t, m, w: m.std(ddof=1) / m.mean(),
    "chi2": lambda t, m, w: np.sum(w * (m - np.average(m, weights=w)) ** 2) / (len(m) - 1),
    "skew": lambda t, m, w: np.sum(((m - m.mean()) / m.std(ddof=1)) ** 3) * len(m) / ((len(m) - 1) * (len(m) - 2)),
    "stetson_K": lambda t, m, w: (
        np.abs((m - np.average(m, weights=w)) * np.sqrt(w)).sum()
        / np.sqrt(len(m) * np.sum(w * (m - np.average(m, weights=w)) ** 2))
    ),
}


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 60), st.integers(0, 2**32 - 1))
def test_features_are_those_of_their_definitions(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    jd = 2461366.5 + np.sort(rng.choice(3000, size, replace=False)) / 100
    magnitude, sigma = rng.normal(18, 0.5, size), rng.uniform(0.02, 0.3, size)
    points = zip(jd.tolist(), magnitude.tolist(), sigma.tolist(), strict=True)
    rows = [Row(time, brightness, sigmapsf=error) for time, brightness, error in points]
    values = dict(zip(FEATURES, features_of(rows).values[0, 0].tolist(), strict=True))
    for name, definition in REFERENCE.items():
        # The package's slopes multiply un-centred magnitudes, hence their looser agreement. beyond_1_std is a count.
        tolerance = 1e-5 if name in ("linear_trend", "linear_fit_slope") else 1e-9
        expected = definition(jd, magnitude, sigma**-2)
        assert values[name] == pytest.approx(expected, rel=tolerance, abs=1e-9), name


def test_usable_asks_for_25_of_the_26() -> None:
    assert usable(features_of([Row(float(day), 18.0 + 0.1 * day) for day in range(1, 5)])).tolist() == [[True, False]]
    flag = np.ones((26, 1), np.bool_)
    values = np.ones((26, 1, 26))
    values[np.arange(26), 0, np.arange(26)] = NAN
    got = usable(LightCurveFeatures(values, np.full((26, 1), 9), flag, ~flag))
    assert [name for name, ok in zip(FEATURES, got[:, 0], strict=True) if ok] == ["mean_variance"]


# --- what must not matter ---------------------------------------------------------------------------------------------

rows = st.builds(
    Row,
    jd=st.integers(0, 30).map(lambda half_day: 2461366.7 + half_day / 2),
    magpsf=st.floats(15, 21) | st.just(NAN),
    band=st.integers(1, 3),
    sigmapsf=st.floats(0.01, 0.3),
    distnr=st.sampled_from([0.3, 2.0, 9.0, 9.0]),
    magnr=st.floats(15, 21) | st.just(-999.0),
    sigmagnr=st.floats(0.01, 0.1),
    positive=st.booleans(),
)
alerts = st.lists(st.lists(rows, max_size=25), min_size=1, max_size=8)


@settings(deadline=None)
@given(alerts, st.data())
def test_a_batch_and_its_parts_give_the_same_bits(batch: list[list[Row]], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(batch)), max_size=3)))
    parts = [batch[a:b] for a, b in zip([0, *cuts], [*cuts, len(batch)], strict=True)]
    assert_same_bits(joined([features_of(*part) for part in parts]), features_of(*batch))


@settings(deadline=None)
@given(st.lists(rows, max_size=30, unique_by=lambda row: (row.jd, row.band)), st.data())
def test_the_order_of_distinct_rows_does_not_matter(alert: list[Row], data: st.DataObject) -> None:
    assert_same_bits(features_of(data.draw(st.permutations(alert))), features_of(alert))


@settings(deadline=None)
@given(alerts, st.data())
def test_repeated_rows_do_not_matter(batch: list[list[Row]], data: st.DataObject) -> None:
    again = [alert + data.draw(st.lists(st.sampled_from(alert))) if alert else [] for alert in batch]
    assert_same_bits(features_of(*again), features_of(*batch))


# --- hostile numbers --------------------------------------------------------------------------------------------------

EXTREMES = [0.0, -0.0, 1.0, 1 + 2**-52, -1.0, NAN, math.inf, -math.inf]
EXTREMES += [sign * size for sign in (1, -1) for size in (5e-324, 1e-160, 9e-30, 9e29, 1e160, 1e300, 1.7e308)]
hostile = st.sampled_from(EXTREMES)
hostile_rows = st.builds(
    Row,
    jd=hostile | st.floats(),
    magpsf=hostile | st.floats(10, 25),
    band=st.sampled_from([1, 1, 1, 2, 3, 0, -1, 2**63 - 1, -(2**63)]),
    sigmapsf=hostile | st.floats(0.01, 1),
    distnr=hostile,
    magnr=hostile | st.floats(10, 25),
    sigmagnr=hostile | st.floats(0.01, 1),
    positive=st.booleans(),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(hostile_rows, max_size=10), max_size=4))
def test_hostile_numbers_never_raise_spread_or_become_infinite(batch: list[list[Row]]) -> None:
    sound = [Row(float(day), 18.0 + 0.1 * day**0.5) for day in range(1, 6)]
    features = features_of(*batch, sound)
    assert not np.isinf(features.values).any()
    assert np.isnan(features.values[features.malformed]).all()
    alone = features_of(sound)
    assert features.values[-1].tobytes() == alone.values[0].tobytes()
    assert usable(features)[-1].tolist() == [True, False]


@pytest.mark.parametrize(
    "bad",
    [
        Row(9.0, sigmapsf=0.0),
        Row(9.0, sigmapsf=-0.1),
        Row(9.0, sigmapsf=math.inf),
        Row(9.0, sigmapsf=1e-31),  # its weight, 1e62, squared and squared again would overflow
        Row(9.0, magpsf=math.inf),
        Row(9.0, magpsf=-1e300),
        Row(math.nan),
        Row(math.inf),
        Row(1e300),
        Row(-1.0),
    ],
)
def test_one_bad_point_makes_its_band_malformed_and_no_other(bad: Row) -> None:
    sound = [Row(float(day), 18.0 + 0.1 * day, band) for day in range(1, 5) for band in (1, 2)]
    features = features_of(sound, [*sound, bad], sound)
    assert features.malformed.tolist() == [[False, False], [True, False], [False, False]]
    assert usable(features).tolist() == [[True, True], [False, True], [True, True]]
    assert features.detections[1].tolist() == [5, 4]


@pytest.mark.parametrize(
    "alert",
    [
        [Row(-1.7e308, -1.7e308), Row(1.7e308, 1.7e308)],  # infinity over infinity
        [Row(0.0, 18.0), Row(5e-324, 19.0)],  # one over next to nothing
    ],
)
def test_curves_without_a_finite_slope_do_not_reach_the_extractor(alert: list[Row]) -> None:
    """light-curve 0.13.3 panics there, past every `except Exception`."""
    assert features_of(alert).malformed.tolist() == [[True, False]]


def test_the_closest_times_and_largest_numbers_do_reach_it() -> None:
    corners = [Row(1.0, -9e29, sigmapsf=2e-30), Row(1 + 2**-52, 9e29, sigmapsf=9e29), Row(9e29, 1.0), Row(8e29, 2.0)]
    features = features_of(corners, corners[:2])
    assert not features.malformed.any()
    assert features.values[:, 0, FEATURES.index("maximum_slope")] == pytest.approx(1.8e30 * 2**52)


def test_a_spread_about_a_mean_of_zero_is_null_not_infinite() -> None:
    assert "mean_variance" in nulls([-1.0, 1.0])


def test_a_package_that_names_its_features_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = SimpleNamespace(names=list(reversed(FEATURES)))
    monkeypatch.setattr(lightcurve, "_EXTRACTOR", None)  # so that the real one is put back
    monkeypatch.setattr(light_curve, "Extractor", lambda *features: extractor)
    with pytest.raises(SkimError, match=r"install a 0\.13 release"):
        importlib.reload(lightcurve)


def test_equal_times_are_one_detection() -> None:
    features = features_of([Row(1.0, 18.0 + 0.1 * step) for step in range(9)])
    assert features.detections[0, 0] == 1
    assert features.values[0, 0, 0] == 18.0
