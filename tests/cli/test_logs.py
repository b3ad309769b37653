import json
import logging
from collections.abc import Iterator

import pytest

from skimstream.cli.logs import JsonLines, Readable, UnknownFormat, configure
from skimstream.consumer import heartbeat


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelno": logging.WARNING, "levelname": "WARNING"})
    made.__dict__.update(fields)
    return made


def test_json_lines_are_one_line_whatever_they_hold() -> None:
    line = JsonLines().format(record("dead letters", reason="decode", detail='"}\n{"event": "forged"}'))
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["event"], entry["reason"]) == ("warning", "dead letters", "decode")
    assert entry["detail"] == '"}\n{"event": "forged"}'


def test_readable_lines_escape_control_characters() -> None:
    line = Readable().format(record("dead letters", detail="a\x1b[31m\nb"))
    assert line == r"warning: dead letters detail='a\x1b[31m\nb'"


def test_times_are_iso_8601_in_utc_with_milliseconds() -> None:
    entry = json.loads(JsonLines().format(record("x", created=1_795_408_085.25)))
    assert entry["time"] == "2026-11-23T04:28:05.250Z"


def test_time_level_and_event_come_first_and_no_field_replaces_them() -> None:
    entry = json.loads(JsonLines().format(record("x", event="forged", level="none", partition="t/0")))
    assert list(entry) == ["time", "level", "event", "partition"]
    assert (entry["level"], entry["event"]) == ("warning", "x")


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root, heart = logging.getLogger(), logging.getLogger(heartbeat.__name__)
    before = root.level, list(root.handlers), heart.level
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    heart.setLevel(before[2])


@pytest.mark.parametrize(
    ("level", "style", "shown"),
    [
        (logging.WARNING, "json", ["warning", "heartbeat"]),
        (logging.INFO, "json", ["warning", "info", "heartbeat"]),
        (logging.ERROR, "json", []),
        (logging.WARNING, "auto", ["warning", "heartbeat"]),
    ],
)
@pytest.mark.usefixtures("logging_as_before")
def test_the_heartbeat_is_shown_unless_quiet(
    level: int, style: str, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level, style)
    logging.getLogger("skimstream.consumer.worker").warning("warning")
    logging.getLogger("skimstream.consumer.worker").info("info")
    heartbeat.Heartbeat().say({"state": "idle"})
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == shown


@pytest.mark.usefixtures("logging_as_before")
def test_text_may_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure(logging.WARNING, "text")
    heartbeat.Heartbeat().say({"state": "idle"})
    assert capsys.readouterr().err == "info: heartbeat state='idle'\n"
    with pytest.raises(UnknownFormat, match="auto, json, text"):
        configure(logging.WARNING, "xml")
