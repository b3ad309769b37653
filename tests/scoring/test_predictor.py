import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skimstream.scoring
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.streams.timestamp import parse_times
from skimstream.schemas.columns import Text
from skimstream.schemas.gather import gather
from skimstream.scoring.errors import EventRefused, FeatureMismatch, ModelError
from skimstream.scoring.features.behaviour import CATEGORIES, FEATURES, NUMBERS, UNITS
from skimstream.scoring.intake import BEHAVIOUR_FIELDS, EARLIEST, LATEST, Fields, take_in
from skimstream.scoring.model import Model
from skimstream.scoring.predictor import AnomalyDetectionPredictor, Predictor
from skimstream.scoring.train import Options, train

DEMO = str(files("skimstream.scoring") / "models" / "behaviour-demo")
# The 18 fields that the documentation of the system before this one shows; its model ignored eight of them.
EXAMPLE: dict[str, Any] = {
    "user_id": "user_12345",
    "session_id": "session_67890",
    "device_type": "PC",
    "screen_size": "1920x1080",
    "browser_info": "Chrome",
    "language": "english",
    "device_orientation": "landscape",
    "geolocation_city": "Delhi",
    "transaction_date": "2026-11-21T20:15:00Z",
    "time_on_page": 120.0,
    "clicks_count": 15,
    "scroll_count": 8,
    "form_submissions": 2,
    "page_views": 5,
    "session_duration": 300.0,
    "bounce_rate": 0.2,
    "conversion_rate": 0.1,
    "avg_session_duration": 280.0,
}
# The eight that its model did use.
OTHERS: dict[str, Any] = {
    "click_events": 8,
    "scroll_events": 10,
    "touch_events": 0,
    "keyboard_events": 12,
    "device_motion": 0.0,
    "timezone_offset": 330,
    "transaction_amount": 500.0,
    "mouse_movement": 250,
}
CHANGED: dict[str, Any] = {
    "user_id": "someone_else",
    "session_id": "session_67891",
    "device_type": "Mobile",
    "screen_size": "360x640",
    "browser_info": "Lynx",
    "language": "latin",
    "device_orientation": "none",
    "geolocation_city": "Unknown",
    "transaction_date": "2026-11-22T03:40:00Z",
    "time_on_page": 5_000.0,
    "clicks_count": 900,
    "scroll_count": 900,
    "form_submissions": 0,
    "page_views": 500,
    "session_duration": 1.0,
    "bounce_rate": 1.0,
    "conversion_rate": 1.0,
    "avg_session_duration": 10.0,
    "click_events": 500,
    "scroll_events": 500,
    "touch_events": 300,
    "keyboard_events": 0,
    "device_motion": 40.0,
    "timezone_offset": -700,
    "transaction_amount": 100_000.0,
    "mouse_movement": 100_000,
}
MONTH = [
    EXAMPLE
    | {"session_id": f"s{day}", "transaction_date": f"2026-11-{day:02}T19:{day:02}:00Z"}
    | {"clicks_count": 10 + day % 7, "page_views": 4 + day % 3, "session_duration": 250.0 + 7 * day}
    for day in range(1, 21)
]
HISTORY = [*MONTH, *(one | {"user_id": "someone", "browser_info": "Firefox"} for one in MONTH)]


DATES = r"20\d\d-[01]\d-[0-3]\d([T ][0-2]\d(:[0-6]\d(:[0-6]\d(\.\d{1,9})?)?)?)?Z?"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(DEMO)


@pytest.fixture(scope="module")
def isolation() -> Model:
    rows = np.random.default_rng(0).normal(size=(1_500, 2))
    return train("thermometer", ("kelvin", "pascal"), ("K", "Pa"), rows, options=Options(trees=20))


def test_the_result_has_the_names_that_people_know(predictor: Predictor) -> None:
    result = predictor.predict_single(EXAMPLE)
    share = result["anomaly_probability"]
    assert share is not None
    assert 0 <= share <= 0.5
    assert result["is_anomaly"] is False
    assert result["prediction"] == 0
    assert result["confidence"] == max(share, 1 - share)
    assert result["score"] is not None
    assert 0 <= result["score"] < 1
    assert json.loads(json.dumps(result)) == result
    assert skimstream.scoring.Predictor is AnomalyDetectionPredictor is Predictor
    assert {"Forest", "HalfSpaceTrees"} <= set(skimstream.scoring.__all__)
    assert all(getattr(skimstream.scoring, name) for name in skimstream.scoring.__all__)
    with pytest.raises(AttributeError, match="Detector"):
        _ = skimstream.scoring.Detector


def test_the_documented_fields_are_18_and_no_other_is_needed(predictor: Predictor) -> None:
    assert len(EXAMPLE) == 18
    result = predictor.predict_single(EXAMPLE)
    assert set(result["missing"]) == set(OTHERS)
    assert result["unused"] == []
    assert predictor.predict_single(EXAMPLE | OTHERS)["missing"] == []
    assert set(EXAMPLE | OTHERS) == set(BEHAVIOUR_FIELDS) == set(CHANGED)


@pytest.mark.parametrize("field", CHANGED)
def test_each_field_alone_matters(predictor: Predictor, field: str) -> None:
    changed = {field: CHANGED[field]}
    after = predictor.predict_single(EXAMPLE | changed, HISTORY)
    # A field may be nothing to a forest beside some others, but not beside all.
    matters = any(
        predictor.predict_single(event | changed, HISTORY)["score"] != predictor.predict_single(event, HISTORY)["score"]
        for event in (EXAMPLE, EXAMPLE | OTHERS, CHANGED | {field: (EXAMPLE | OTHERS)[field]})
    )
    if field == "session_id":  # a name, and names are never features
        assert not matters
        assert after["ids"] == {"user_id": "user_12345", "session_id": "session_67891"}
    else:
        assert matters
    assert (field in after["unseen"]) == (field in ("user_id", *CATEGORIES))


@pytest.mark.parametrize("field", EXAMPLE)
def test_a_missing_field_is_reported(predictor: Predictor, field: str) -> None:
    expected = None
    for nothing in ({}, {field: None}, {field: float("nan")}, {field: np.float32("nan")}):
        result = predictor.predict_single({k: v for k, v in EXAMPLE.items() if k != field} | nothing, HISTORY)
        assert set(result["missing"]) == {*OTHERS, field}
        assert result == (expected or result)
        expected = result


def test_a_lone_event_is_new_in_everything(predictor: Predictor) -> None:
    assert predictor.predict_single(EXAMPLE)["unseen"] == ["user_id", *CATEGORIES]
    assert predictor.predict_single(EXAMPLE, HISTORY)["unseen"] == []
    assert predictor.predict_single({})["missing"] == list(BEHAVIOUR_FIELDS)


def test_fields_that_nobody_uses_are_reported(predictor: Predictor) -> None:
    result = predictor.predict_single(EXAMPLE | {"transaction_amuont": 9e9, "is_fraud": 1})
    assert result["unused"] == ["transaction_amuont", "is_fraud"]
    assert result["score"] == predictor.predict_single(EXAMPLE)["score"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clicks_count", "12", "is '12' \\(str\\), expected a number, or None"),
        ("clicks_count", True, "expected a number"),
        ("clicks_count", [1], "expected a number"),
        ("transaction_amount", Decimal("1.5"), "\\(Decimal\\), expected a number"),
        ("transaction_amount", float("inf"), "expected a finite number"),
        ("transaction_amount", 10**400, "expected a finite number"),
        ("device_type", 1, "is '1' \\(int\\), expected text"),
        ("user_id", 12345, "expected text"),
        ("session_id", b"s1", "expected text"),
        ("transaction_date", 1_795_000_000, "expected ISO 8601"),
        ("transaction_date", "21.11.2026", "expected ISO 8601"),
        ("transaction_date", "now", "expected ISO 8601"),
        ("transaction_date", "2026-11-21T20:15:00+01:00", "expected ISO 8601"),
        ("transaction_date", "1999-12-31", "in 2000 to 2100"),
        ("transaction_date", datetime(5139, 1, 1, tzinfo=UTC), "in 2000 to 2100"),
        ("transaction_date", "2026-02-30", "that exist"),
        ("transaction_date", "2026-02-03T24:00", "that exist"),
    ],
)
def test_a_wrong_value_is_refused_by_name(predictor: Predictor, field: str, value: object, message: str) -> None:
    with pytest.raises(EventRefused, match=f"^event 1, {field}: .*{message}") as caught:
        predictor.predict_batch([EXAMPLE, EXAMPLE | {field: value}])
    assert (caught.value.place, caught.value.field) == ("event 1", field)
    with pytest.raises(EventRefused, match=f"^history 2, {field}: "):
        predictor.predict_single(EXAMPLE, [EXAMPLE, EXAMPLE, EXAMPLE | {field: value}])


def test_what_is_no_event_is_refused(predictor: Predictor) -> None:
    with pytest.raises(EventRefused, match="event 0: is a list, expected a dict"):
        predictor.predict_single([1, 2])  # type: ignore[arg-type]
    for wrong in (EXAMPLE, "text", 3):
        with pytest.raises(EventRefused, match=r"^events: are one .*expected a list"):
            predictor.predict_batch(wrong)
    assert predictor.predict_batch([]) == predictor.predict_batch([], HISTORY) == []


def test_times_come_in_several_kinds(predictor: Predictor) -> None:
    expected = predictor.predict_single(EXAMPLE, HISTORY)
    cet = timezone(timedelta(hours=1))
    for when in (
        "2026-11-21 20:15",
        datetime(2026, 11, 21, 20, 15),
        datetime(2026, 11, 21, 20, 15, tzinfo=UTC),
        datetime(2026, 11, 21, 21, 15, tzinfo=cet),
    ):
        assert predictor.predict_single(EXAMPLE | {"transaction_date": when}, HISTORY) == expected
    midnight = predictor.predict_single(EXAMPLE | {"transaction_date": "2026-11-21"}, HISTORY)
    assert predictor.predict_single(EXAMPLE | {"transaction_date": date(2026, 11, 21)}, HISTORY) == midnight != expected


@settings(deadline=None, max_examples=300)
@given(
    st.from_regex(DATES, fullmatch=True, alphabet=st.characters(codec="ascii"))
    | st.datetimes().map(lambda when: when.isoformat())
)
def test_times_are_read_as_the_worker_reads_them(text: str) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    worker = parse_times(Text(data, np.zeros(1, np.int64), np.array([len(data)])))[0]
    try:
        assert Fields("event", {"transaction_date": text}).seconds("transaction_date") == worker
    except EventRefused:
        assert not EARLIEST <= worker <= LATEST  # NaN, too


events = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(["a", "b", "ü"]),
        "transaction_date": st.integers(0, 10**6).map(lambda s: f"2026-11-{s % 28 + 1:02}T{s % 24:02}:15:00.{s}Z"),
        **{name: st.sampled_from(["", "x", "y", "Ω"]) for name in CATEGORIES},
        **{name: st.floats(-1e6, 1e6) for name in NUMBERS},
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(events, max_size=12))
def test_features_are_the_workers_bit_for_bit(batch: list[dict[str, Any]]) -> None:
    stream = Behaviour()
    expected = stream.open().features(gather(batch, stream.wanted)).matrix
    taken = take_in("behaviour", FEATURES, [""] * len(batch), batch)
    np.testing.assert_array_equal(taken.matrix, expected)


def test_a_batch_is_what_a_new_partition_gives(predictor: Predictor) -> None:
    stream = Behaviour()
    batch = [*HISTORY, EXAMPLE, EXAMPLE | CHANGED]
    matrix = stream.open().features(gather(batch, stream.wanted)).matrix
    expected = predictor.model.ensemble().score_learn(matrix)
    results = predictor.predict_batch(batch)
    assert [one["score"] for one in results] == expected.score.tolist()
    assert predictor.model.probability is not None
    likely = predictor.model.probability.apply(expected.raw[:, 0])
    assert [one["anomaly_probability"] for one in results] == likely.tolist()
    assert predictor.predict_batch(batch[30:], batch[:30]) == results[30:]
    assert predictor.predict_single(batch[-1], batch[:-1]) == results[-1]
    assert results[-1]["is_anomaly"]


def test_nothing_is_kept(predictor: Predictor) -> None:
    model = predictor.model
    untouched = {name: array.copy() for name, array in model.ensemble().to_arrays().items()}
    running = model.ensemble()
    first = predictor.predict_batch(HISTORY)
    assert predictor.predict_batch(HISTORY) == first
    for ensemble in (running, model.ensemble()):
        for name, array in ensemble.to_arrays().items():
            np.testing.assert_array_equal(array, untouched[name])


class Frame:
    """As much of a pandas DataFrame as is used."""

    def __init__(self, records: list[Mapping[str, Any]]) -> None:
        self.records = records

    def to_dict(self, orient: str) -> list[Mapping[str, Any]]:
        assert orient == "records"
        return self.records


class NAType:
    """pandas' NA: comparing it with anything, itself too, gives NA, and NA is neither true nor false."""

    def __eq__(self, other: object) -> "NAType":  # type: ignore[override]
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_a_data_frame_is_a_list_of_dicts(predictor: Predictor) -> None:
    frame = Frame([EXAMPLE, EXAMPLE | {"device_type": NAType(), "clicks_count": np.int64(15)}])
    plain = [EXAMPLE, EXAMPLE | {"device_type": None}]
    assert predictor.predict_batch(frame, Frame(list(HISTORY))) == predictor.predict_batch(plain, HISTORY)
    labels, shares = predictor.predict(frame)
    assert labels.tolist() == [0, 0]
    assert len(shares) == 2
    assert shares.dtype == np.float64
    assert predictor.predict(EXAMPLE)[1][0] == shares[0] == predictor.predict_single(EXAMPLE)["anomaly_probability"]


def test_the_threshold_decides(predictor: Predictor) -> None:
    share = predictor.predict_single(EXAMPLE)["anomaly_probability"]
    assert share is not None
    assert Predictor(predictor.model, share - 1e-9).predict_single(EXAMPLE)["is_anomaly"]
    assert not Predictor(predictor.model, share).predict_single(EXAMPLE)["is_anomaly"]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ModelError, match="threshold"):
            Predictor(predictor.model, wrong)


def test_the_model_tells_about_itself(predictor: Predictor, isolation: Model) -> None:
    info = predictor.get_model_info()
    assert info["model_type"] == "random forest"
    assert info["feature_count"] == len(info["features"]) == len(FEATURES)
    assert info["fields"] == list(BEHAVIOUR_FIELDS)
    assert (info["is_loaded"], info["calibrated"], info["threshold"]) == (True, True, 0.5)
    assert 0 < info["brier"] < 0.01
    assert 0 <= info["expected_calibration_error"] < 0.01
    assert info["decides_on"] == "anomaly_probability"
    assert info["performance_metrics"]["out_of_bag_roc_auc"] > 0.9
    json.dumps(info)
    other = Predictor(isolation).get_model_info()
    assert (other["model_type"], other["decides_on"], other["threshold"]) == ("isolation forest", "score", 0.99)
    assert other["fields"] == ["kelvin", "pascal"]


def test_an_isolation_forest_has_a_percentile_but_no_probability(isolation: Model) -> None:
    predictor = Predictor(isolation)
    usual, odd = predictor.predict_batch([{"kelvin": 0.1, "pascal": 0.0}, {"kelvin": 9.0, "pascal": -9.0, "bar": 1}])
    for result in (usual, odd):
        assert result["anomaly_probability"] is result["confidence"] is None
    assert (usual["is_anomaly"], odd["is_anomaly"], odd["prediction"]) == (False, True, 1)
    assert odd["score"] is not None
    assert odd["score"] > 0.99
    assert (odd["unused"], odd["missing"], odd["unseen"], odd["ids"]) == (["bar"], [], [], {})
    assert predictor.predict_single({"kelvin": 1.0})["missing"] == ["pascal"]
    assert np.isnan(predictor.predict([{"kelvin": 1.0}])[1]).all()
    with pytest.raises(EventRefused, match="event 0, kelvin: is 'warm'"):
        predictor.predict_single({"kelvin": "warm"})


def test_a_behaviour_model_with_other_features_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(1_200, len(FEATURES)))
    swapped = (FEATURES[1], FEATURES[0], *FEATURES[2:])
    with pytest.raises(FeatureMismatch):
        Predictor(train("behaviour", swapped, UNITS, rows, options=Options(trees=5)))


def test_a_missing_bundle_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="skim train"):
        Predictor("/nowhere/at/all")
