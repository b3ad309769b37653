"""Definitions of streams in TOML: what they mean, and how wrong ones are told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream, decoder_of
from skimstream.consumer.own import definitions_in
from skimstream.consumer.streams.base import night_name
from skimstream.consumer.streams.definition import Definition, DefinitionError
from skimstream.consumer.streams.own import Own
from skimstream.consumer.streams.own_intake import take_in
from skimstream.consumer.streams.registry import UnknownStream, stream_of
from skimstream.consumer.streams.toml_lines import line_of, lines_of
from skimstream.producer.encode import plain
from skimstream.producer.schema import WriterSchema
from skimstream.schemas.columns import Columns
from skimstream.schemas.gather import gather
from skimstream.scoring.errors import EventRefused

RIGHT = 'key = "card"\ntime = "when"\nnumbers = ["amount"]\ncategories = ["channel"]\nentities = ["shop"]\n'
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "payment",
    "fields": [
        {"name": "card", "type": "string"},
        {"name": "shop", "type": ["null", "long"]},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "amount", "type": ["null", "double"]},
        {"name": "channel", "type": {"type": "enum", "name": "channel", "symbols": ["web", "pos"]}},
        {"name": "more", "type": {"type": "record", "name": "more", "fields": [{"name": "tip", "type": "float"}]}},
    ],
}


def defined(text: str, folder: Path = Path()) -> Own:
    return Own(definitions_in("[stream.payments]\n" + text, folder)["payments"])


def problems(text: str, folder: Path = Path(), name: str = "payments") -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        definitions_in(f"[stream.{name}]\n{text}", folder)
    return caught.value.problems


def columns(stream: Own, *records: dict[str, Any]) -> Columns:
    usual = {"card": "c", "when": "2026-11-21T10:00:00Z", "amount": 5.0, "channel": "web", "shop": "s", "id": "e"}
    return gather([{**usual, **one} for one in records], stream.wanted)


def test_all_that_is_wrong_is_told_at_once_with_key_line_and_nearest_name() -> None:
    text = """key = "card"
tme = "when"
numbers = [
  "amount",
]
feature = ["z"]
half_lives = ["7d",
  "a week"]
resolution = { amuont = 0.01 }
time_format = "iso"
gates = ["amount > 0", "amount is big"]
kept = 0
"""
    assert [one.partition(": ")[::2] for one in problems(text)] == [
        ("stream.payments.time (line 1)", "is missing: name the field that says when an event was"),
        ("stream.payments.tme (line 3)", "there is no such key; did you mean time?"),
        ("stream.payments.feature (line 7)", "there is no such key; did you mean features?"),
        ("stream.payments.half_lives (line 8)", "'a week' is no time; write 30min, 12h or 7d"),
        ("stream.payments.resolution (line 10)", "amuont is none of amount; did you mean amount?"),
        (
            "stream.payments.time_format (line 11)",
            "'iso' is none of iso8601, seconds, milliseconds, microseconds, mjd, jd; did you mean iso8601?",
        ),
        ("stream.payments.gates (line 12)", "'amount is big' is no gate; write amount > 0 or status == 'paid'"),
        ("stream.payments.kept (line 13)", "input should be greater than or equal to 1; it is '0'"),
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({'numbers = ["amount"]': 'numbers = ["amount", "card"]'}, "card is the key, which is never a feature"),
        ({'numbers = ["amount"]': 'numbers = ["amount", "amount"]'}, "names a field twice"),
        ({'numbers = ["amount"]': 'numbers = ["rule_1"]'}, "kept for rules"),
        ({'numbers = ["amount"]': 'numbers = ["channel"]'}, "channel is a category or an entity"),
        ({'["channel"]': '["shop"]'}, "shop is an entity, too"),
        ({'time = "when"': 'time = "when"\nintegers = ["cart"]'}, "did you mean card?"),
        ({'time = "when"': 'time = "when"\nfeatures = ["zscore"]'}, "'zscore' is none of"),
        ({'time = "when"': "time = 5"}, "string"),
        ({'time = "when"': 'time = "when"\nname = "x"'}, "no such key"),
        ({'time = "when"': 'time = "when"\nday_begins = "25:00"'}, "no time of day"),
        ({'time = "when"': 'time = "when"\nframing = "plain"'}, 'schema = "FILE.avsc"'),
        ({'time = "when"': 'time = "when"\nframing = "jsn"'}, "did you mean json?"),
        ({'time = "when"': 'time = "when"\nschema = "no.avsc"'}, "can't be read"),
        ({'time = "when"': 'time = "when"\ngates = ["card > 5"]'}, "card is a text"),
        ({'time = "when"': 'time = "when"\ngates = ["amount == \'x\'"]'}, "numbers with numbers"),
        ({'time = "when"': 'time = "when"\nhalf_lives = ["24h", "1d"]'}, "names one twice"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict[str, str], word: str) -> None:
    text = RIGHT
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    assert any(word in one for one in problems(text)), problems(text)


def test_names_that_are_taken_or_none() -> None:
    assert "a stream of skimstream's own" in problems(RIGHT, name="ztf")[0]
    assert "is no name" in problems(RIGHT, name="Pay")[0]
    assert definitions_in('stream = "ztf"', Path()) == {}
    with pytest.raises(DefinitionError, match="expected a table"):
        definitions_in("[stream]\npayments = 5", Path())


def test_a_pinned_schema_is_held_against_it(tmp_path: Path) -> None:
    (tmp_path / "p.avsc").write_text(json.dumps(SCHEMA))
    found = problems(RIGHT.replace("amount", "amonut") + 'schema = "p.avsc"\nevent = "shop_id"\n', tmp_path)
    assert "stream.payments.numbers (line 4): the schema has no field amonut; did you mean amount?" in found
    assert any("shop is a long, expected string or enum: add it to integers" in one for one in found)
    end = 'schema = "p.avsc"\nintegers = ["shop"]\n'
    stream = defined(RIGHT.replace('"amount"', '"amount", "more.tip"') + end, tmp_path)
    assert (stream.framing, stream.time_format) == ("plain", "milliseconds")
    record = {"card": "c", "shop": 7, "when": 1_795_000_000_123, "channel": "pos", "amount": None, "more": {"tip": 0}}
    file = tmp_path / "skim.toml"
    file.write_text("[stream.payments]\n" + RIGHT + end)
    settings = load_settings(file, {})
    own: Any = configured_stream(settings)
    decoder = decoder_of(settings, own)
    decoded = decoder.decode([plain(record, WriterSchema(json.dumps(SCHEMA)))])
    assert (decoded.rejected, decoder.fallbacks) == ((), 0)
    assert own.times(decoded.columns).tolist() == [1_795_000_000.123]
    assert own.describe(decoded.columns, 0) == {"when": 1.795000000123e12, "shop": 7, "amount": None, "channel": "pos"}


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [
        ({"card": None}, "invalid", "there is no card"),
        ({"card": ""}, "invalid", "there is no card"),
        ({"id": None}, "invalid", "there is no id"),
        ({"card": "c" * 129}, "invalid", "longer than 128"),
        ({"shop": "s\x00"}, "invalid", "control"),
        ({"when": "yesterday"}, "invalid", "ISO 8601"),
        ({"when": "1999-12-31"}, "invalid", "2000 to 2100"),
        ({"amount": float("nan")}, "non_finite", "number"),
        ({"amount": float("inf")}, "non_finite", "number"),
    ],
)
def test_events_that_cannot_be_are_named(change: dict[str, Any], reason: str, word: str) -> None:
    stream = defined(RIGHT + 'event = "id"')
    assert stream.check(columns(stream, {}, {"amount": None, "shop": None, "channel": None})) == []
    ((row, error),) = stream.check(columns(stream, {}, change))
    assert (row, error.reason) == (1, reason)
    assert word in error.detail


@pytest.mark.parametrize(
    ("gate", "passing"),
    [
        ("amount > 5", [False, True, False]),
        ("amount >= 5", [True, True, False]),
        ("amount != 5", [False, True, False]),
        ("channel == 'web'", [True, False, True]),
        ('channel != "web"', [False, True, False]),
        ("more == 'x'", [False, False, True]),
        ("level < 3e0", [True, False, False]),
    ],
)
def test_gates(gate: str, passing: list[bool]) -> None:
    stream = defined(RIGHT + f"gates = [{json.dumps(gate)}]")
    some = columns(stream, {"level": 1}, {"amount": 7, "channel": "pos", "level": 3}, {"amount": None, "more": "x"})
    assert stream.passing(some).tolist() == passing
    found = stream.open().features(some)
    assert (found.rows.tolist(), found.unscored) == (np.flatnonzero(passing).tolist(), {"gate": passing.count(False)})


FEED = 'labels = { field = "fraud", event_time = "paid", delay = "1d" }\n'


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"paid": "2026-11-20T10:00:01Z"}, "before its delay of 1d"),
        ({"paid": None}, "without its event's time"),
        ({"fraud": 0.5}, "fraud is not 0 or 1"),
        ({"card": None}, "there is no card"),
    ],
)
def test_a_label_that_would_leak_or_says_nothing_is_refused(change: dict[str, Any], word: str) -> None:
    stream = defined(RIGHT + FEED)
    label = {"fraud": 1, "paid": "2026-11-20T10:00:00Z", "amount": None, "channel": None}
    assert stream.check(columns(stream, {}, label, {**label, "fraud": 0})) == []
    ((row, error),) = stream.check(columns(stream, {}, {**label, **change}))
    assert (row, error.reason, word in error.detail) == (1, "invalid", True)


def test_labels_teach_risks_from_where_they_stand_on() -> None:
    stream = defined(RIGHT + FEED + 'gates = ["amount > 0"]\nfeatures = ["count", "risk"]\nhalf_lives = ["1d"]')
    label = {"fraud": 1, "paid": "2026-11-20", "amount": None, "card": "another"}
    found = stream.open().features(columns(stream, {}, label, {}, {"shop": "t"}))
    assert (found.rows.tolist(), found.unscored) == ([0, 2, 3], {"gate": 0, "label": 1})
    at = stream.features.index("shop: risk over 1 d")
    assert found.matrix[:, at].tolist() == pytest.approx([0, 1 / 1.5, 0])
    assert found.matrix[:, stream.features.index("shop: events over 1 d")].tolist() == [0, 1, 0]


def test_groups_that_need_memory_of_their_own_change_what_is_remembered_and_others_do_not() -> None:
    groups = (["count"], ["count", "z"], ["count", "excess"], ["count", "streak"], ["excess", "streak"])
    digests = [defined(RIGHT + FEED + f"features = {json.dumps(one)}").definition.digest for one in groups]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('labels = { feild = "fraud", event_time = "paid" }', "did you mean field?"),
        ('labels = { field = "fraud", event_time = "paid", delay = "soon" }', "'soon' is no time"),
        ('labels = { field = "amount", event_time = "paid" }', "amount is a field of events, too"),
        ('features = ["z", "risk"]', "risk needs labels"),
        ('features = ["z", "streak"]', "streak needs labels"),
    ],
)
def test_wrong_labels_are_told(text: str, word: str) -> None:
    assert any(word in one for one in problems(RIGHT + text)), problems(RIGHT + text)


def test_what_fails_a_gate_is_not_learned() -> None:
    stream = defined(RIGHT + 'gates = ["amount > 0"]')
    state, other = stream.open(), stream.open()
    one = state.features(columns(stream, *({"amount": a} for a in (5.0, -1.0, 7.0)))).matrix
    np.testing.assert_array_equal(one, other.features(columns(stream, *({"amount": a} for a in (5.0, 7.0)))).matrix)


def test_days_and_windows() -> None:
    late = [{"when": when} for when in ("2026-11-21T11:59:59", "2026-11-21T12:00:00", "2026-11-23")]
    noon = defined(RIGHT + 'day_begins = "12:00"')
    found = noon.nights(columns(noon, *late)).tolist()
    assert [night_name(one) for one in found] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    week = defined(RIGHT + "window_days = 7")
    first, *_, last = week.nights(columns(week, *late)).tolist()
    assert (first % 7, last - first) == (0, 0) or last - first == 7


def test_events_without_an_id_are_called_by_what_they_hold() -> None:
    stream = defined(RIGHT)
    ids = [stream.event_id(columns(stream, {}, {"amount": 6.0}, {}), row) for row in range(3)]
    assert ids[0] == ids[2] != ids[1]
    assert len(ids[0]) == 16


def test_a_board_shows_no_more_than_a_line_of_a_text() -> None:
    stream = defined(RIGHT)
    assert stream.describe(columns(stream, {"channel": "x" * 100_000}), 0)["channel"] == "x" * 128


def test_dicts_are_taken_in_as_messages_are() -> None:
    stream = defined(RIGHT + 'event = "id"\ngates = ["amount > 0"]')
    usual = {"card": "c", "when": "2026-11-21T10:00:00Z", "amount": 5.0, "channel": "web", "shop": "s", "id": "e"}
    events = [usual, {**usual, "amount": 9.0, "channel": None, "colour": "red"}]
    taken = take_in(stream, ["event 0", "event 1"], events)
    np.testing.assert_array_equal(taken.matrix, stream.open().features(gather(events, stream.wanted)).matrix)
    assert taken.ids == [{"card": "c", "id": "e"}] * 2
    assert (taken.missing, taken.unused) == ([[], ["channel"]], [[], ["colour"]])
    assert taken.unseen == [["card", "shop", "channel"], []]
    for wrong, word in (({"amount": "5"}, "not a number"), ({"amount": -1}, "gates"), ({"when": "now"}, "ISO 8601")):
        with pytest.raises(EventRefused, match=word):
            take_in(stream, ["event 0"], [{**usual, **wrong}])


def test_settings_of_the_file_go_before_the_definitions(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text(f'topic = "t"\n[stream.payments]\ntopic = "p"\nkept = 7\nframing = "json"\n{RIGHT}')
    settings = load_settings(file, {"board": {"kept": 9}})
    assert (settings.stream, settings.topic, settings.board.kept, settings.framing) == ("payments", "t", 9, "json")
    assert load_settings(file, {"stream": "ztf"}).definition is None
    assert load_settings(file, {"stream": "ztf"}).board.kept == 1_000
    with pytest.raises(UnknownStream, match="did you mean payments"):
        configured_stream(load_settings(file, {"stream": "payment"}))
    with pytest.raises(UnknownStream, match="needs --config"):
        stream_of("payments")


def test_what_is_remembered_under_another_definition_is_not_gone_on_with() -> None:
    def rows(text: str) -> Any:
        entities = defined(RIGHT + text).open().entities
        assert entities is not None
        return entities.rows.dtype

    assert rows("") == rows('kept = 5\nday_begins = "12:00"\nfeatures = ["z"]')
    for text in ('gates = ["amount > 0"]', "resolution = { amount = 1 }", "remembered = 15", 'integers = ["card"]'):
        assert rows("") != rows(text)


def test_lines_of_toml() -> None:
    text = 'a = 1\n[b] # c\n"d" = """\n[x]\ny = 1\n"""\ne.f = [\n  ["g"] # ]\n]\n[b.h]\ni = {j = 1}\n[[k]]\nl = 1\n'
    lines = lines_of(text)
    assert lines["b", "d"] == 3
    assert lines["b", "e", "f"] == 7
    assert (lines["b", "h"], lines["b", "h", "i"], lines["k", "l"]) == (10, 11, 13)
    assert ("b", "y") not in lines
    assert ("g",) not in lines
    assert line_of(lines, ("b", "h", "i", "j")) == 11
    assert line_of(lines, ("z",)) is None


def test_every_key_of_a_definition_is_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "own-stream.md").read_text()
    keys = [field.alias or name for name, field in Definition.model_fields.items() if name != "name"]
    assert [key for key in keys if f"| `{key}`" not in page] == []
