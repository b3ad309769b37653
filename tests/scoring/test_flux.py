"""Curves of fluxes: detections and forced photometry become one curve, and both are remembered."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.scoring.features.flux import FORCED, LARGEST_FLUX, LEAST_ERROR, POINT, FluxWindow, flux_curves
from skimstream.scoring.features.history import History, row_of
from skimstream.scoring.features.lightcurve import FEATURES, curve_features, lightcurve_features
from skimstream.scoring.features.window import Window, WindowError

NAN = math.nan
MJD = 61_365.0
BANDS = (1, 2, 3, 4, 5, 6)


class Row(NamedTuple):
    jd: float
    flux: float = 100.0
    sigma: float = 10.0
    band: int = 1


def window_of(*packets: list[Row]) -> FluxWindow:
    rows = [row for packet in packets for row in packet]
    columns = {name: np.array([getattr(row, name) for row in rows], np.float64) for name in ("jd", "flux", "sigma")}
    band = np.array([row.band for row in rows], np.int64)
    return FluxWindow(np.cumsum([0, *(len(packet) for packet in packets)]), band=band, **columns)


def reference(packet: list[Row], band: int) -> list[tuple[float, float, float]]:
    """The rules in plain Python."""
    rows = [row for row in packet if row.band % FORCED == band and 0 < row.band < FORCED + 7]
    counting = [row for row in rows if not (math.isnan(row.flux) or math.isnan(row.sigma))]
    best: dict[float, Row] = {}
    for row in sorted(counting, key=lambda row: row.band > FORCED):  # a stable sort: detections first
        best.setdefault(row.jd, row)
    return [(row.jd, row.flux, row.sigma) for _, row in sorted(best.items())]


numbers = st.one_of(st.floats(-1e4, 1e4), st.just(NAN))
rows = st.builds(
    Row,
    st.sampled_from([MJD + day for day in range(5)]),
    numbers,
    st.one_of(st.floats(1, 100), st.just(NAN)),
    st.sampled_from([0, *BANDS, *(band + FORCED for band in BANDS), FORCED, 7, 300]),
)


@settings(deadline=None)
@given(st.lists(st.lists(rows, max_size=12), min_size=1, max_size=4))
def test_curves_are_those_of_the_rules(packets: list[list[Row]]) -> None:
    curves = flux_curves(window_of(*packets), BANDS)
    for alert, packet in enumerate(packets):
        for place, band in enumerate(BANDS):
            part = slice(*curves.offsets[alert * len(BANDS) + place :][:2].tolist())
            points = zip(curves.jd[part], curves.magnitude[part], curves.sigma[part], strict=True)
            assert [tuple(map(float, point)) for point in points] == reference(packet, band)
            assert curves.present[alert, place] == any(row.band in (band, band + FORCED) for row in packet)
            assert not curves.malformed[alert, place]


@pytest.mark.parametrize("detection_first", [True, False])
def test_a_visits_detection_stands_for_its_forced_flux(detection_first: bool) -> None:
    both = [Row(MJD, 100.0, band=2), Row(MJD, 90.0, band=2 + FORCED)]
    packet = [*(both if detection_first else both[::-1]), Row(MJD + 1, 20.0, band=2 + FORCED), Row(MJD + 2, band=1)]
    curves = flux_curves(window_of(packet), (2,))
    assert curves.magnitude.tolist() == [100.0, 20.0]


def test_features_of_fluxes_are_the_extractors_signed_and_unconverted() -> None:
    flux = [-50.0, 30.0, 400.0, -7.0, 12.0]
    packet = [Row(MJD + i, value, 5.0) for i, value in enumerate(flux)]
    found = curve_features(flux_curves(window_of(packet), (1,))).values[0, 0]
    n, one = len(flux), np.ones(len(flux))
    days = np.array([MJD + i for i in range(n)])
    same = Window(np.array([0, n]), days, np.array(flux), 5.0 * one, 9 * one, one, one, np.ones(n, int), one > 0)
    assert found.tobytes() == lightcurve_features(same, (1,)).values[0, 0].tobytes()
    assert found[FEATURES.index("mean")] == np.mean(flux)
    assert found[FEATURES.index("amplitude")] == 225.0


def test_hostile_numbers_make_their_band_malformed() -> None:
    for bad in (Row(MJD, math.inf), Row(MJD, 1e31), Row(MJD, sigma=0.0), Row(MJD, sigma=-1.0), Row(NAN), Row(-MJD)):
        curves = flux_curves(window_of([bad, Row(MJD + 1), Row(MJD + 1, band=2)]), (1, 2))
        assert curves.malformed.tolist() == [[True, False]], bad


def test_columns_have_one_length() -> None:
    with pytest.raises(WindowError, match="sigma must hold 1 rows"):
        FluxWindow(np.array([0, 1]), np.ones(1), np.ones(1), np.ones(2), np.ones(1, int))


def remember(history: History, *packets: list[Row]) -> list[list[float]]:
    """The fluxes of each packet's window; all of one object."""
    keys = np.full(len(packets), 7, np.uint64)
    history.entities.admit(keys)
    window = history.remember(window_of(*packets), keys)
    return [part.tolist() for part in np.split(window.flux, window.offsets[1:-1])]


def test_detections_and_forced_photometry_of_one_visit_are_remembered_apart() -> None:
    history = History(10, points=50, point=POINT)
    first = [Row(MJD, 90.0, band=1 + FORCED), Row(MJD, 100.0)]
    assert remember(history, first, [Row(MJD + 1, 110.0)], [Row(MJD, 91.0, band=1 + FORCED), Row(MJD + 2, 120.0)]) == [
        [90.0, 100.0],
        [100.0, 90.0, 110.0],
        [100.0, 110.0, 91.0, 120.0],  # the packet's own forced flux; the detection is remembered
    ]


def test_what_could_spoil_a_curve_is_not_remembered() -> None:
    history = History(10, points=50, point=POINT)
    broken = [
        *(Row(MJD, flux) for flux in (math.inf, -math.inf, NAN, 1e300, 10 * LARGEST_FLUX)),
        *(Row(MJD, sigma=sigma) for sigma in (0.0, -1.0, NAN, LEAST_ERROR / 10, math.inf)),
        *(Row(jd) for jd in (NAN, 0.0, math.inf, MJD + 5)),
        *(Row(MJD, band=band) for band in (0, -1, 300)),
    ]
    remember(history, [*broken, Row(MJD + 1, 5.0)])
    assert remember(history, [Row(MJD + 9, 6.0)]) == [[5.0, 6.0]]


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=20))
def test_whatever_is_remembered_leaves_curves_well_formed(packet: list[Row]) -> None:
    history = History(10, points=50, point=POINT)
    extreme = [Row(MJD - 1, LARGEST_FLUX, LEAST_ERROR), Row(MJD - 2, -LARGEST_FLUX, 1e12)]
    remember(history, [*extreme, *packet])
    keys = np.array([7], np.uint64)
    history.entities.admit(keys)
    curves = flux_curves(history.remember(window_of([Row(MJD + 9)]), keys), BANDS)
    assert not curves.malformed.any()
    assert np.isfinite(curve_features(curves).values[0, 0]).any()


def test_a_point_takes_25_bytes() -> None:
    assert (POINT.itemsize, row_of(100, POINT).itemsize) == (25, 2_502)
