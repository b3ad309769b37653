"""Messages that end the process that reads them, and those that don't."""

import sys
from pathlib import Path
from typing import Any

import pytest

from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.config import load_settings
from skimstream.consumer.preset import preset_of
from skimstream.consumer.probe import COMMAND, prober
from stage.listed import sessions

# A reader that dies of some messages: of a signal, of an exception, or never (it hangs).
DEADLY = """
import os, signal, sys, time
from skimstream.consumer import probe
original = probe.read
def read(stream, decoder, message):
    import base64
    value = base64.b64decode(message["value"] or "")
    if value == b"segmentation fault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if value == b"exception":
        raise MemoryError
    original(stream, decoder, message)
probe.read = read
probe.main()
"""


def batch_of(*values: bytes | None) -> Batch:
    offsets = [100 + 2 * i for i in range(len(values))]
    return Batch(Address("t", 0), 100, offsets[-1] + 1, offsets, list(values), [0] * len(values))


@pytest.fixture(scope="module")
def settings() -> Any:
    return load_settings(None, {"stream": "behaviour", "redis": {"url": "redis://:secret@127.0.0.1:1/0"}})


def test_only_what_is_deadly_is_found(settings: Any) -> None:
    good, other = sessions(2)
    batch = batch_of(good, b"segmentation fault", b"rubbish", None, b"exception", other)
    assert prober(settings, [sys.executable, "-c", DEADLY])(batch) == {102, 108}


def test_hostile_messages_of_every_kind_kill_nothing(settings: Any) -> None:
    assert prober(settings)(batch_of(*sessions(3), b"", None, b"\xff" * 500)) == frozenset()


def test_streams_of_ones_own_are_read_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "skim.toml"
    file.write_text(preset_of("lasair").own)
    good = b'{"diaObjectId": 7, "lastDiaSourceMjdTai": 61000.5, "nDiaSources": 3, "latestR": 0.9}'
    assert prober(load_settings(file, {}))(batch_of(good)) == frozenset()
    assert "doesn't start" not in caplog.text


def test_a_probe_that_does_not_start_proves_nothing(settings: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert prober(settings, [sys.executable, "-c", "raise SystemExit(1)"])(batch_of(b"x")) == frozenset()


def test_it_is_told_no_secrets(settings: Any, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    command = [sys.executable, "-c", f"import sys; open({str(heard)!r}, 'w').write(sys.stdin.read())"]
    prober(settings, command)(batch_of(b"x"))
    assert "behaviour" in heard.read_text()
    assert "secret" not in heard.read_text()
    assert COMMAND[1:] == ("-m", "skimstream.consumer.probe")
