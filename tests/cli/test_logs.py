import json
import logging

from skimstream.cli.logs import JsonLines, Readable


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
