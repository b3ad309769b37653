"""The compiled decoder against fastavro: ratios in one run, interleaved, medians of `REPEATS`; `make bench-decode`.

Like for like: bare records (`bare`) against `fastavro.schemaless_reader` with the parsed schema at hand, and whole
containers (`whole`) against `fastavro.reader`. Ours is the projection that the stream wants, in batches of 500. CPU
time; the last line is one JSON object. Real alerts from ../shared are used where they are at hand.
"""

import io
import json
import os
import statistics
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro

from skimstream.consumer.streams.base import Stream
from skimstream.consumer.streams.registry import stream_of
from skimstream.producer.encode import container, plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.container import only_block, read_header
from skimstream.schemas.decode import Decoder
from skimstream.schemas.reader import parse_schema

REPEATS = 5
BATCH = 500
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def workloads() -> dict[str, tuple[Stream, list[bytes]]]:
    """Name → stream and messages."""
    ztf, behaviour = stream_of("ztf"), stream_of("behaviour")
    night = simulate_night(1, date(2026, 11, 21), BATCH)
    day = simulate_sessions(1, datetime(2026, 11, 21, tzinfo=UTC), 20 * BATCH)
    found = {
        "behaviour_event": (behaviour, [plain(one.record, load("behaviour")) for one in day]),
        "ztf_like": (ztf, [container(one.record, load("ztf_like")) for one in night]),
    }
    for name, archive, folder in (
        ("ztf_v4.01", "kowalski_v3.3_v4.01_36.tar.gz", "20231012"),
        ("ztf_v3.2", "burst_20181129_v3.2_263.tar.gz", "burst"),
    ):
        if (SHARED / "ztf" / archive).exists():
            with tarfile.open(SHARED / "ztf" / archive) as tar:
                files = [tar.extractfile(member) for member in tar if member.isfile() and folder in member.name]
                alerts = [file.read() for file in files if file is not None]
            found[name] = (ztf, (alerts * (BATCH // len(alerts) + 1))[:BATCH])
    return found


def measure(stream: Stream, messages: list[bytes]) -> dict[str, float]:
    """Our microseconds a message and how many times less CPU that is, for bare records and for whole containers."""
    if stream.framing == "plain":
        text = json.dumps(stream.schema()).encode()
        return compared("bare", stream, json.loads(text), messages, reader_of(parse_schema(text)))
    headers = [read_header(message) for message in messages]
    text = headers[0].schema
    pairs = zip(messages, headers, strict=True)
    bodies = [only_block(message, header) for message, header in pairs if header.schema == text]
    return {
        **compared("bare", stream, json.loads(text), bodies, reader_of(parse_schema(text))),
        **compared("whole", stream, None, messages, lambda message: list(fastavro.reader(io.BytesIO(message)))),
    }


def reader_of(parsed: Any) -> Callable[[bytes], object]:
    """fastavro's reading of one bare record."""
    return lambda body: fastavro.schemaless_reader(io.BytesIO(body), parsed, None)


def compared(
    name: str, stream: Stream, schema: Any, messages: list[bytes], theirs: Callable[[bytes], object]
) -> dict[str, float]:
    """Interleaved repeats of our batches and their single messages."""
    decoder = Decoder(stream.wanted, "container" if schema is None else "plain", schema)
    few = messages[:BATCH]

    def ours() -> None:
        for at in range(0, len(messages), BATCH):
            assert not decoder.decode(messages[at : at + BATCH]).rejected

    def their_loop() -> None:
        for message in few:
            theirs(message)

    ours()
    mine, ratios = [], []
    for _ in range(REPEATS):
        mine.append(seconds(ours) / len(messages))
        ratios.append(seconds(their_loop) / len(few) / mine[-1])
    return {f"{name}_us": round(statistics.median(mine) * 1e6, 2), f"{name}_ratio": round(statistics.median(ratios), 1)}


def main() -> None:
    """Print the ratios."""
    figures = {name: measure(stream, messages) for name, (stream, messages) in workloads().items()}
    for name, one in figures.items():
        print(name, *(f"{what} {value}" for what, value in one.items()), sep="  ")
    print(json.dumps({"decode": figures, "repeats": REPEATS, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
