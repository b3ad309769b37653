"""Archive records through decoder, features, model and board."""

import json
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from skimstream.cli.csvfile import read_csv
from skimstream.cli.models import load_model
from skimstream.consumer.board import read_nights, read_top
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.consumer.streams.base import night_name
from skimstream.consumer.streams.observation import Observation
from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.observations import simulate_observations
from skimstream.schemas.columns import Columns
from skimstream.schemas.decode import Decoder
from skimstream.schemas.gather import gather
from skimstream.scoring.features.observation import FEATURES
from skimstream.scoring.rules import broken_rules, rule_columns
from stage.listed import Listed, Topic, learned, recorder

START = datetime(2026, 11, 21, tzinfo=UTC)
EVENTS = list(simulate_observations(5, START, 3_000, 0.05))
MESSAGES: list[bytes | None] = [plain(event.record, load("observation")) for event in EVENTS]
RECORD: dict[str, Any] = next(event.record for event in EVENTS if event.truth is None and event.record["t_min"])


def columns(*changes: dict[str, Any]) -> Columns:
    return gather([{**RECORD, **change} for change in changes], Observation.wanted)


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [
        ({"obs_id": ""}, "invalid", "obs_id"),
        ({"obs_id": "jw\n1"}, "invalid", "control"),
        ({"obs_id": "j" * 129}, "invalid", "128"),
        ({"s_ra": float("nan")}, "non_finite", "NaN"),
        ({"t_min": float("inf")}, "non_finite", "infinite"),
        ({"t_obs_release": 40_586.9}, "invalid", "t_obs_release"),
        ({"t_obs_release": 1e300}, "invalid", "t_obs_release"),
    ],
)
def test_what_no_record_can_be_is_a_dead_letter(change: dict[str, Any], reason: str, word: str) -> None:
    faults = Observation().check(columns({}, change))
    assert [(row, error.reason) for row, error in faults] == [(1, reason)]
    assert word in str(faults[0][1])


@pytest.mark.parametrize("change", [{"s_ra": 900.0}, {"t_min": 1e9}, {"t_exptime": -5.0}, {"em_max": None}])
def test_what_is_false_is_scored_not_refused(change: dict[str, Any]) -> None:
    stream = Observation()
    assert stream.check(columns(change)) == []
    assert stream.open().features(columns(change)).rows.tolist() == [0]


def test_the_night_is_the_day_of_release_else_of_ingest_else_the_first_of_all() -> None:
    late = int(datetime(2026, 11, 22, 23, 59, tzinfo=UTC).timestamp() * 1e6)
    never = {"t_obs_release": None, "ingest_ts": None}
    some = columns({"t_obs_release": 61_365.99}, {**never, "ingest_ts": late}, never, {**never, "ingest_ts": 2**62})
    names = [night_name(night) for night in Observation().nights(some).tolist()]
    assert names == ["2026-11-21", "2026-11-22", "1970-01-01", "2100-01-01"]


def test_images_alone_when_the_settings_say_so() -> None:
    stream = configured_stream(load_settings(None, {"stream": "observation", "observation": {"products": "image"}}))
    found = stream.open().features(columns(*({"dataproduct_type": one} for one in ("image", "cube", None, "image"))))
    assert found.rows.tolist() == [0, 3]
    assert found.unscored == {"other_product": 2}
    everything = configured_stream(load_settings(None, {"stream": "observation"}))
    assert len(everything.open().features(columns({}, {"dataproduct_type": "cube"})).rows) == 2


def test_an_instrument_and_its_filter_are_not_a_filter_and_its_instrument() -> None:
    pairs = [("A", "B"), ("B", "A"), ("A", None), (None, "B"), ("A", "B")]
    modes = Observation().modes(columns(*({"instrument_name": i, "filters": f} for i, f in pairs))).tolist()
    assert modes[0] == modes[4] != modes[1]
    assert modes[2:4] == [0, 0]
    assert 0 not in modes[:2]


def test_the_compiled_decoder_reads_what_was_written() -> None:
    stream = Observation()
    decoded = Decoder(stream.wanted, stream.framing, stream.schema()).decode(list(MESSAGES), None, None)
    expected = gather([event.record for event in EVENTS], stream.wanted)
    np.testing.assert_array_equal(decoded.columns.numbers, expected.numbers)
    np.testing.assert_array_equal(decoded.columns.integers, expected.integers)
    assert stream.check(decoded.columns) == []


def test_planned_observations_are_scored_like_all_others(store: redis.Redis) -> None:
    worker, source = (
        recorder(store, "observation", Observation(), kept=5_000),
        Listed(Topic({0: MESSAGES}), repeat(500)),
    )
    worker.run(source, lambda: source.done)
    assert worker.tally.scored == worker.tally.consumed == len(EVENTS)
    planned = {event.event_id for event in EVENTS if event.record["t_min"] is None}
    rows = [row for night in read_nights(store, "observation") for row in read_top(store, "observation", night, 5_000)]
    assert planned
    assert planned <= {row["object"] for row in rows}
    shown = next(row for row in rows if row["object"] in planned)
    assert shown["candidate"]["t_min"] is None
    assert "solar_elongation" not in shown["features"]


def test_broken_rules_stand_above_all_and_are_named(store: redis.Redis) -> None:
    worker, source = (
        recorder(store, "observation", Observation(), kept=5_000),
        Listed(Topic({0: MESSAGES}), repeat(500)),
    )
    worker.run(source, lambda: source.done)
    truth = {event.event_id: event.truth for event in EVENTS}
    rows = [row for night in read_nights(store, "observation") for row in read_top(store, "observation", night, 5_000)]
    broken = [row for row in rows if any(row["features"].get(FEATURES[rule], 0) > 0 for rule in rule_columns(FEATURES))]
    others = [row["score"] for row in rows if row not in broken]
    assert len(broken) > 50
    assert min(row["score"] for row in broken) >= 0.999999 > max(others)
    assert all(row["reasons"][0]["feature"].startswith("rule_") for row in broken)
    assert all(row["raw"]["online"] is None for row in broken)
    # Nothing true breaks a rule, and most of what is false does.
    assert all(truth[row["object"]] for row in broken)
    assert len(broken) > 0.7 * sum(kind is not None for kind in truth.values())
    json.dumps(rows, allow_nan=False)


def stopped(source: Listed, at: int) -> bool:
    """Whether a run is to end: everything is read, or as much as `at`."""
    return source.done or source.positions.get(0, 0) >= at


def test_batches_and_crashes_change_nothing(store: redis.Redis) -> None:
    whole = recorder(store, "whole", Observation())
    source = Listed(Topic({0: MESSAGES[:800]}), repeat(800))
    whole.run(source, lambda: source.done)
    topic, emitted = Topic({0: MESSAGES[:800]}), []
    for crash in (250, 500, None):
        worker, source = recorder(store, "cut", Observation()), Listed(topic, cycle([7, 31, 60]))
        worker.run(source, partial(stopped, source, crash or len(MESSAGES)))
        emitted += worker.emitted
    assert emitted == whole.emitted
    one, other = learned(store, "whole"), learned(store, "cut")
    assert [one[name] for name in one if "top" in name] == [other[name] for name in other if "top" in name]


def test_a_partition_that_goes_on_knows_its_modes() -> None:
    stream = Observation()
    first, second = stream.open(), stream.open()
    first.features(columns(*[{}] * 5))
    second.restore(first.shared())
    shifted = columns({"em_min": RECORD["em_min"] + 20})
    place = FEATURES.index("rule_wavelength")
    assert second.features(shifted).matrix[0, place] == 1
    assert np.isnan(stream.open().features(shifted).matrix[0, place])


def test_the_shipped_model_fits_the_stream() -> None:
    model = load_model("observation", None)
    model.require(Observation.features)
    assert model.stream == "observation"
    assert model.training["source"] == ["observation.avro"]  # simulated, as `make models` does it


def test_of_the_reference_sample_no_real_record_breaks_a_rule_and_most_false_ones_do(shared: Path) -> None:
    """120 rows in MAST's own export: 100 real, then 20 altered, of which 3 have no times."""
    stream, file = Observation(), shared / "data" / "jwst" / "seed000_MAST_allmix_100_with_anomaly_JWST.csv"
    (sample,) = read_csv(file.read_bytes(), stream.wanted, 1 << 20)
    assert stream.check(sample) == []
    matrix = stream.open().features(sample).matrix
    broken = broken_rules(matrix, rule_columns(FEATURES)) > 0
    assert broken[:100].sum() == 0
    assert broken[100:].sum() == 18


def test_no_real_record_breaks_a_rule(shared: Path) -> None:
    stream = Observation()
    state, file = stream.open(), shared / "data" / "jwst" / "jwst_mast_dja_first60pct.csv.gz"
    records = 0
    for part in read_csv(file.read_bytes(), stream.wanted, 1 << 26):
        matrix = state.features(part).matrix
        assert not (matrix[:, rule_columns(FEATURES)] > 0).any()
        records += len(matrix)
    assert records == 14_743
