"""Reads a suspicious batch in another process, message by message: what ends that process is deadly, and proven so.

`python -m skimstream.consumer.probe` is that process. It gets one line of settings, then one line a message, all JSON;
and says "ready", then a line after each message that it has survived.
"""

import base64
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..schemas.decode import Decoder
from ..schemas.registry import RegistryUnavailable
from .batch import Batch
from .config import Settings, load_settings
from .configured import configured_stream, decoder_of
from .rekey import RekeyedDecoder
from .streams.base import Stream
from .streams.definition import Definition

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", __name__)
# A start takes seconds, or half a minute if the kernels must be compiled; after that, what takes so long hangs.
SECONDS = 120.0
# What reading depends on; no addresses of Kafka or Redis, and no passwords.
SECTIONS = {"stream", "framing", "registry", "gate", "lsst", "state", "history", "observation", "rekey"}
DEFINITION = "definition"  # beside them, that of a stream of the user's own


def prober(settings: Settings, command: Sequence[str] = COMMAND) -> Callable[[Batch], frozenset[int]]:
    """A function that answers which offsets of a batch hold deadly messages."""
    chosen = settings.model_dump(mode="json", include=SECTIONS)
    if (own := settings.definition) is not None:
        chosen[DEFINITION] = {**own.model_dump(mode="json", by_alias=True), "name": own.name}
    return lambda batch: deadly(batch, chosen, command)


def deadly(batch: Batch, settings: Mapping[str, Any], command: Sequence[str] = COMMAND) -> frozenset[int]:
    """Offsets of the messages that end a process which reads them. None, if it doesn't even start."""
    found, at = set[int](), 0
    lines = [_line(batch, i) for i in range(len(batch.values))]
    while at < len(lines):
        survived = _survived(lines[at:], settings, command)
        if survived is None:
            log.error("the probe doesn't start, so nothing is proven", extra={"partition": batch.name})
            break
        at += survived
        if at < len(lines):
            found.add(batch.offsets[at])
            at += 1
    return frozenset(found)


def _survived(lines: Sequence[bytes], settings: Mapping[str, Any], command: Sequence[str]) -> int | None:
    """How many messages a new process survives; None if it isn't ready for the first."""
    sent = b"\n".join([json.dumps(settings).encode(), *lines, b""])
    with subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            said, _ = process.communicate(sent, SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    return len(said.split()) - 1 if said.startswith(b"ready") else None


def _line(batch: Batch, index: int) -> bytes:
    def text(data: bytes | None) -> str | None:
        return None if data is None else base64.b64encode(data).decode()

    headers = batch.headers[index] if batch.headers else None
    message = {
        "value": text(batch.values[index]),
        "key": text(batch.keys[index] if batch.keys else None),
        "headers": [[name, text(value)] for name, value in headers or ()],
    }
    return json.dumps(message).encode()


def read(stream: Stream, decoder: Decoder, message: Mapping[str, Any]) -> None:
    """Do to one message what a worker does before it scores."""

    def data(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    headers = [(name, data(value) or b"") for name, value in message["headers"]]
    try:
        columns = decoder.decode([data(message["value"])], [data(message["key"])], [headers]).columns
    except RegistryUnavailable:
        return
    faulty = [row for row, _ in stream.check(columns)]
    columns = columns.take(np.setdiff1d(np.arange(len(columns)), faulty))
    state = stream.open()
    if state.entities is not None:
        state.entities.admit(state.keys(columns))
    state.features(columns)


def main() -> None:
    """The other process."""
    chosen = json.loads(sys.stdin.buffer.readline())
    own = [Definition.model_validate(one) for one in (chosen.pop(DEFINITION, None),) if one]
    settings = load_settings(None, chosen).defined({one.name: one for one in own})
    stream = configured_stream(settings)
    decoder = decoder_of(settings, stream, make=RekeyedDecoder if settings.rekey else Decoder)
    print("ready", flush=True)
    for line in sys.stdin.buffer:
        read(stream, decoder, json.loads(line))
        print("survived", flush=True)


if __name__ == "__main__":
    main()
