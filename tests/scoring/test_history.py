"""The memory of light curves: the kernel against a plain dict, and the promise that only the records count."""

import gzip
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.entities import Keys
from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.history import POINTS, History, row_of
from skimstream.scoring.features.lightcurve import lightcurve_features
from skimstream.scoring.features.window import POINT, Window, band_curves

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fink" / "fink_ztf_golden_dev.jsonl.gz"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared")

NAN = math.nan
JD = 2_461_365.5


class Row(NamedTuple):
    jd: float
    magpsf: float = 18.0
    sigmapsf: float = 0.1
    distnr: float = 9.0
    magnr: float = 17.0
    sigmagnr: float = 0.02
    band: int = 1
    positive: bool = True


class Alert(NamedTuple):
    key: int
    rows: tuple[Row, ...]


def limit(jd: float, band: int = 1) -> Row:
    return Row(jd, NAN, NAN, NAN, NAN, NAN, band, False)


def window_of(packets: Sequence[Sequence[Row]]) -> Window:
    rows = [row for packet in packets for row in packet]
    columns: dict[str, Any] = {
        name: np.array([getattr(row, name) for row in rows], kind)
        for name, kind in Row.__annotations__.items()
        if name != "band"
    }
    offsets = np.cumsum([0, *(len(packet) for packet in packets)])
    return Window(offsets=offsets, band=np.array([row.band for row in rows], np.int64), **columns)


def packets_of(window: Window) -> Iterator[list[Row]]:
    """Back to rows; equality below is by `bits`, since NaN is no equal of itself."""
    columns = [getattr(window, name).tolist() for name in Row._fields]
    rows = [Row(*values) for values in zip(*columns, strict=True)]
    for start, stop in itertools.pairwise(window.offsets.tolist()):
        yield rows[start:stop]


def bits(packets: Sequence[Sequence[Row]]) -> list[list[str]]:
    return [[repr(row) for row in packet] for packet in packets]  # repr of a float tells every bit but a NaN's


def keys_of(alerts: Sequence[Alert]) -> Keys:
    return np.array([alert.key for alert in alerts], np.uint64)


def remember(history: History, alerts: Sequence[Alert]) -> list[list[Row]]:
    """One batch."""
    history.entities.admit(keys_of(alerts))
    return list(packets_of(history.remember(window_of([alert.rows for alert in alerts]), keys_of(alerts))))


def one_by_one(history: History, alerts: Sequence[Alert]) -> list[list[Row]]:
    return [packet for alert in alerts for packet in remember(history, [alert])]


class Reference:
    """The same in plain Python: a dict of time and band for each key."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.known: dict[int, dict[tuple[float, int], Row]] = {}

    def remember(self, alert: Alert) -> list[Row]:
        if alert.key == 0 or not alert.rows:
            return list(alert.rows)
        known, now = self.known.setdefault(alert.key, {}), alert.rows[-1].jd
        detected = {place(row) for row in alert.rows if not (math.isnan(row.magpsf) or math.isnan(row.sigmapsf))}
        lacking = sorted(where for where in known if where not in detected and where[0] <= now)
        window = [*(known[where] for where in lacking), *alert.rows]
        first: dict[tuple[float, int], Row] = {}
        for row in alert.rows:
            if sound(row) and row.jd <= now:
                first.setdefault(place(row), row)
        union = {**known, **first}
        self.known[alert.key] = {where: union[where] for where in sorted(union, reverse=True)[: self.points]}
        return window


def place(row: Row) -> tuple[float, int]:
    return row.jd, row.band


def sound(row: Row) -> bool:
    return (
        1 <= row.band <= 127
        and 1 <= row.jd < 1e30
        and -50 <= row.magpsf <= 50
        and 1e-6 <= row.sigmapsf <= 1e4
        and (math.isnan(row.sigmagnr) or -1e4 <= row.sigmagnr <= 1e4)
    )


ODD = (NAN, math.inf, -math.inf, 1e300, -1e300, -999.0, 0.0, -0.0, 60.0)
# Few times, so that packets share them; some that are none.
times = st.sampled_from([*(JD + 3 * day for day in range(12)), *(NAN, math.inf, 0.0, -JD, 1e300)])
rows = st.builds(
    Row,
    jd=times,
    magpsf=st.one_of(st.floats(15, 21), st.sampled_from(ODD)),
    sigmapsf=st.one_of(st.floats(0.01, 0.2), st.sampled_from(ODD)),
    distnr=st.sampled_from([9.0, 0.5, *ODD]),
    magnr=st.one_of(st.floats(15, 21), st.sampled_from(ODD)),
    sigmagnr=st.one_of(st.floats(0.01, 0.2), st.sampled_from(ODD)),
    band=st.sampled_from([1, 1, 1, 2, 2, 3, 0, -1, 300, 127]),
    positive=st.booleans(),
)
alerts = st.builds(Alert, key=st.integers(0, 4), rows=st.lists(rows, max_size=8).map(tuple))
# Ordinary packets: sound rows, in order, the candidate last and latest. Most of what can go wrong hides behind these.
sound_rows = st.builds(  # every field is named: hypothesis would make up the others, defaults or not
    Row,
    jd=st.integers(0, 20).map(lambda day: JD + day),
    magpsf=st.floats(15, 21),
    sigmapsf=st.sampled_from([0.1, 0.1, 0.1, NAN]),
    distnr=st.sampled_from([9.0, 9.0, 9.0, 0.5]),
    magnr=st.sampled_from([17.0, 18.0, NAN]),
    sigmagnr=st.sampled_from([0.02, NAN]),
    band=st.integers(1, 3),
    positive=st.booleans(),
)
sound_alerts = st.builds(
    Alert, key=st.integers(0, 4), rows=st.lists(sound_rows, min_size=1, max_size=8).map(lambda r: tuple(sorted(r)))
)
streams = st.lists(st.one_of(alerts, sound_alerts), max_size=25)
few_points = st.sampled_from([1, 2, 5, 20])


@settings(deadline=None)
@given(streams, few_points)
def test_windows_and_memory_are_those_of_a_plain_dict(stream: list[Alert], points: int) -> None:
    history, reference = History(100, points=points), Reference(points)
    assert bits(remember(history, stream)) == bits([reference.remember(alert) for alert in stream])
    remembered = {
        key: [Row(*point) for point in row["points"][: row["count"]].tolist()]
        for key, row in memory_of(history).items()
    }
    for key in {alert.key for alert in stream} - {0}:
        assert bits([remembered[key]]) == bits([list(reference.known.get(key, {}).values())])


def memory_of(history: History) -> dict[int, Any]:
    keys, _, found = history.entities.changes()
    return dict(zip(keys.tolist(), found, strict=True))


@settings(deadline=None, max_examples=50)
@given(streams, few_points, st.data())
def test_how_a_stream_is_cut_into_batches_changes_nothing(
    stream: list[Alert], points: int, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4), "cuts"))
    whole, parts = History(100, points=points), History(100, points=points)
    in_parts: list[list[Row]] = []
    for start, stop in itertools.pairwise([0, *cuts, len(stream)]):
        in_parts += remember(parts, stream[start:stop])
    assert bits(remember(whole, stream)) == bits(in_parts)
    for one, other in zip(whole.entities.changes(), parts.entities.changes(), strict=True):
        assert one.tobytes() == other.tobytes()


class Kept(dict[int, tuple[int, bytes]]):
    """Where a worker keeps what memory has no room for: rows without the zeros at their ends."""

    def save(self, history: History) -> None:
        keys, seen, found = history.entities.changes()
        for key, number, row in zip(keys.tolist(), seen.tolist(), found, strict=True):
            self[key] = number, row.tobytes().rstrip(b"\0")
        history.entities.saved()

    def recall(self, history: History, keys: Keys) -> None:
        missing = [key for key in history.entities.missing(keys).tolist() if key in self]
        dtype = history.entities.rows.dtype
        packed = b"".join(self[key][1].ljust(dtype.itemsize, b"\0") for key in missing)
        seen = np.array([self[key][0] for key in missing], np.int64)
        history.entities.put(np.array(missing, np.uint64), seen, np.frombuffer(bytearray(packed), dtype))


@settings(deadline=None, max_examples=50)
@given(streams, few_points, st.data())
def test_what_is_evicted_comes_back_as_it_was(stream: list[Alert], points: int, data: st.DataObject) -> None:
    lifetime = data.draw(st.sampled_from([3, 10, 1000]), "lifetime")
    unbounded = History(100, points=points, lifetime=lifetime)
    small, kept = History(2, points=points, lifetime=lifetime, salt=99), Kept()
    windows: list[list[Row]] = []
    for start in range(0, len(stream), 2):
        batch = stream[start : start + 2]
        if not small.entities.fits(len(batch)) or data.draw(st.booleans(), "save"):
            kept.save(small)
        if data.draw(st.booleans(), "restart"):
            kept.save(small)
            events = small.entities.events
            small = History(2, points=points, lifetime=lifetime, salt=start)
            small.entities.events = events
        kept.recall(small, keys_of(batch))
        windows += remember(small, batch)
    assert bits(windows) == bits(one_by_one(unbounded, stream))


def same_features(one: Window, other: Window) -> bool:
    left, right = lightcurve_features(one, (1, 2)), lightcurve_features(other, (1, 2))
    return left.values.tobytes() == right.values.tobytes() and left.detections.tobytes() == right.detections.tobytes()


def light_curve(nights: int, seed: int, on_reference: bool = False) -> list[Row]:
    """Detections in two bands, some twice with other numbers, as real histories have them; upper limits between."""
    rng = np.random.default_rng(seed)
    curve: list[Row] = []
    for night in range(nights):
        for band in (1, 2):
            jd = JD + 2 * night + 0.02 * band
            if rng.random() < 0.2:
                curve.append(limit(jd, band))
                continue
            for _ in range(2 if rng.random() < 0.1 else 1):
                magnitude, near = float(rng.normal(18.0, 0.5)), 0.3 if on_reference and rng.random() < 0.5 else 9.0
                curve.append(Row(jd, magnitude, 0.05, near, 17.5, 0.02, band, bool(rng.random() < 0.7)))
    return curve


@pytest.mark.parametrize("on_reference", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_packet_that_lacks_nothing_is_its_own_window(seed: int, on_reference: bool) -> None:
    curve = light_curve(30, seed, on_reference)
    stream = [Alert(7, tuple(curve[: end + 1])) for end in range(len(curve)) if not math.isnan(curve[end].magpsf)]
    assert bits(remember(History(200), stream)) == bits([alert.rows for alert in stream])


@pytest.mark.parametrize("seed", range(5))
def test_packets_of_thirty_days_add_up_to_the_whole_light_curve(seed: int) -> None:
    curve = light_curve(60, seed)  # 120 days
    whole, packed = [], []
    for end, candidate in enumerate(curve):
        if not math.isnan(candidate.magpsf):
            whole.append(Alert(7, tuple(curve[: end + 1])))
            packed.append(Alert(7, tuple(row for row in curve[: end + 1] if row.jd >= candidate.jd - 30)))
    state, packet, full = (
        window_of(packets)
        for packets in (
            remember(History(200, points=200), packed),
            [alert.rows for alert in packed],
            [alert.rows for alert in whole],
        )
    )
    assert same_features(state, full)
    assert not same_features(state, packet)  # or this test would see nothing
    assert lightcurve_features(state).detections[-1].sum() > 2 * lightcurve_features(packet).detections[-1].sum()


@needs_golden
def test_real_packets_are_the_newest_part_of_what_is_remembered() -> None:
    """ZTF repeats a detection with the very same time."""
    with gzip.open(GOLDEN, "rt") as lines:
        golden = sorted((json.loads(line) for line in lines), key=lambda one: one["lc"]["jd"][-1])
    names = {"positive": "isdiffpos", "band": "fid"}
    objects: dict[str, int] = {}
    stream = []
    for one in golden:
        columns: list[list[Any]] = [one["lc"][names.get(name, name)] for name in Row._fields[:-1]]
        columns = [[NAN if value is None else value for value in column] for column in columns]
        positive = [value in ("t", "1") for value in one["lc"]["isdiffpos"]]
        packet = tuple(Row(*row) for row in zip(*columns, positive, strict=True))
        stream.append(Alert(objects.setdefault(one["objectId"], len(objects) + 1), packet))
    windows = remember(History(1_000), stream)
    brought = 0
    for alert, window in zip(stream, windows, strict=True):
        added = window[: len(window) - len(alert.rows)]
        assert bits([window[len(added) :]]) == bits([alert.rows])
        assert all(row.jd < alert.rows[-1].jd - 30 for row in added)
        brought += len(added)
    assert brought >= 4


def test_the_oldest_points_go_first() -> None:
    history = History(10, points=3)
    (*_, last) = one_by_one(history, [Alert(7, (Row(JD + day),)) for day in (0, 4, 1, 3, 2, 9)])
    assert [row.jd - JD for row in last] == [2, 3, 4, 9]


def test_a_late_alert_gets_the_curve_as_it_was() -> None:
    late = Alert(7, (Row(JD + 2),))
    _, _, window, following = one_by_one(
        History(10), [Alert(7, (Row(JD),)), Alert(7, (Row(JD + 5),)), late, Alert(7, (Row(JD + 6),))]
    )
    assert [row.jd - JD for row in window] == [0, 2]
    assert [row.jd - JD for row in following] == [0, 2, 5, 6]


def test_history_dated_after_its_candidate_is_not_remembered() -> None:
    history = History(10, points=2)
    crowd = tuple(Row(JD + 1000 + day) for day in range(5))
    _, window = one_by_one(history, [Alert(7, (*crowd, Row(JD))), Alert(7, (Row(JD + 1001),))])
    assert [row.jd - JD for row in window] == [0, 1001]


def test_the_packets_version_of_a_point_is_the_one_that_counts_and_stays() -> None:
    history = History(10)
    _, again, later = one_by_one(
        history,
        [
            Alert(7, (Row(JD, 18.0), Row(JD + 1))),
            Alert(7, (Row(JD, 18.5), Row(JD, 18.7), Row(JD + 2))),  # twice: the first counts, by Fink's rule
            Alert(7, (Row(JD + 3),)),
        ],
    )
    assert [(row.jd - JD, row.magpsf) for row in again] == [(1, 18.0), (0, 18.5), (0, 18.7), (2, 18.0)]
    assert [(row.jd - JD, row.magpsf) for row in later] == [(0, 18.5), (1, 18.0), (2, 18.0), (3, 18.0)]


def test_an_upper_limit_is_not_remembered_and_hides_no_detection() -> None:
    history = History(10)
    _, window = one_by_one(
        history, [Alert(7, (limit(JD - 1), Row(JD), limit(JD + 1, 2), Row(JD + 2))), Alert(7, (limit(JD), Row(JD + 3)))]
    )
    assert [(row.jd - JD, math.isnan(row.magpsf)) for row in window] == [(0, False), (2, False), (0, True), (3, False)]


def test_objects_know_nothing_of_each_other_and_nobody_is_remembered_under_no_name() -> None:
    history = History(10)
    windows = one_by_one(history, [Alert(key, (Row(JD + day),)) for day, key in enumerate((7, 8, 0, 0, 7))])
    assert [[row.jd - JD for row in window] for window in windows] == [[0], [1], [2], [3], [0, 4]]


anything = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=300)
@given(
    st.builds(
        Row,
        jd=st.one_of(anything, st.sampled_from([1.0, 9.9e29])),
        magpsf=st.one_of(anything, st.floats(-60, 60), st.sampled_from([-50.0, 50.0])),
        sigmapsf=st.one_of(anything, st.floats(1e-7, 1e5), st.sampled_from([1e-6, 1e4])),
        distnr=anything,
        magnr=st.one_of(anything, st.floats(0, 60), st.sampled_from([0.0, 50.0, 800.0])),
        sigmagnr=st.one_of(anything, st.sampled_from([0.0, 1e4, -1e4, -999.0])),
        band=st.just(1),
        positive=st.booleans(),
    ),
    st.sampled_from([9.0, 0.5]),
)
def test_no_remembered_point_can_spoil_a_curve(row: Row, distnr: float) -> None:
    history = History(10)
    candidate = Row(9.99e29, distnr=distnr, band=2)  # on a reference source, all magnitudes become apparent ones
    _, window = one_by_one(history, [Alert(7, (row, candidate)), Alert(7, (candidate,))])
    assert len(window) == 1 + sound(row)
    assert not band_curves(window_of([window]), (1, 2)).malformed.any()


@pytest.mark.parametrize("difference", [-50.0, 50.0])
@pytest.mark.parametrize("error", [1e-6, 1e4])
@pytest.mark.parametrize("reference_error", [0.0, 1e4])
@pytest.mark.parametrize("nearly", [0.0, 1e-15, 1e-3])
@pytest.mark.parametrize("positive", [True, False])
def test_extremes_of_the_sound_are_sound(
    difference: float, error: float, reference_error: float, nearly: float, positive: bool
) -> None:
    for reference in (0.0, max(0.0, difference) * (1 - nearly), 800.0):
        row = Row(JD, difference, error, 0.0, reference, reference_error, 1, positive)
        assert sound(row)
        assert not band_curves(window_of([[row]])).malformed.any()


def test_a_row_is_its_points_newest_first_and_ends_in_zeros() -> None:
    history = History(10, points=POINTS)
    one_by_one(history, [Alert(7, (Row(JD), Row(JD + 1))), Alert(7, (Row(JD + 2, band=3),))])
    row = memory_of(history)[7]
    assert row["count"] == 3
    assert row["points"]["jd"][:3].tolist() == [JD + 2, JD + 1, JD]
    assert len(row.tobytes().rstrip(b"\0")) <= 2 + 3 * POINT.itemsize
    assert (POINT.itemsize, row_of(POINTS).itemsize) == (50, 5_002)  # what POINTS says of memory


@pytest.mark.parametrize("count", [-32768, -1, 4, 32767])
def test_a_count_that_lies_reaches_no_other_memory(count: int) -> None:
    history = History(10, points=3)
    remember(history, [Alert(7, (Row(JD),)), Alert(8, (Row(JD),))])
    before = memory_of(history)[8].tobytes()
    history.entities.rows["count"][0] = count  # the slot given out first, to 7
    (window,) = remember(history, [Alert(7, (Row(JD + 1),))])
    assert len(window) <= 4
    assert 1 <= memory_of(history)[7]["count"] <= 3
    assert memory_of(history)[8].tobytes() == before


def test_nothing_comes_of_nothing() -> None:
    assert remember(History(10), []) == []
    assert remember(History(10), [Alert(7, ()), Alert(0, ())]) == [[], []]


def test_a_key_that_was_not_admitted_is_known_by_its_packet() -> None:
    history, window = History(10), window_of([[Row(JD)], [Row(JD + 1)]])
    assert bits(list(packets_of(history.remember(window, np.array([7, 7], np.uint64))))) == bits(
        list(packets_of(window))
    )


@pytest.mark.parametrize("keys", [np.ones(1, np.uint64), np.ones(2, np.int64), np.ones((2, 1), np.uint64)])
def test_there_is_one_key_an_alert(keys: NDArray[Any]) -> None:
    with pytest.raises(ModelError, match=r"keys: is .*expected uint64\[2\]"):
        History(10).remember(window_of([[Row(JD)], [Row(JD)]]), keys)


@pytest.mark.parametrize("points", [0, 1_001])
def test_points_out_of_range_are_refused(points: int) -> None:
    with pytest.raises(ModelError, match=f"points: is {points}"):
        History(10, points=points)
