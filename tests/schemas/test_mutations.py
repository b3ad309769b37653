"""Damaged alerts by the thousand: never an exception, always a reason, and memory stays where it was."""

import io
import random
import resource
from datetime import date

import fastavro
import pytest

from skimstream.consumer.streams.ztf import Ztf
from skimstream.producer.encode import container
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.schemas.container import only_block, read_header
from skimstream.schemas.decode import Decoder
from skimstream.schemas.errors import REASONS

BATCH = 500
GROWTH_KIB = 20 << 10


def mutated(rng: random.Random, message: bytes) -> bytes:
    """Flip, cut, insert, or put a number's worth of high bits somewhere; mostly behind the header."""
    at = rng.randrange(len(message)) if rng.random() < 0.2 else rng.randrange(len(message) // 2, len(message))
    match rng.randrange(4):
        case 0:
            return message[:at] + bytes([message[at] ^ (1 << rng.randrange(8))]) + message[at + 1 :]
        case 1:
            return message[:at]
        case 2:
            return message[:at] + rng.randbytes(rng.randrange(1, 9)) + message[at:]
        case _:
            return message[:at] + b"\xff" * rng.randrange(1, 11) + message[at + 1 :]


def mutated_inside(rng: random.Random, message: bytes) -> bytes:
    """The record alone is damaged, and its container fits: the kernels get to see it, not only the block's length."""
    header = read_header(message)
    body, size = mutated(rng, only_block(message, header)), io.BytesIO()
    fastavro.schemaless_writer(size, "long", len(body))
    return message[: header.end] + b"\x02" + size.getvalue() + body + header.sync


def peak() -> int:
    """The most memory this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_mutated_alerts_are_rejected_with_a_reason_or_decoded_and_cost_no_memory(count: int) -> None:
    schema, stream, rng = load("ztf_like"), Ztf(), random.Random(5)
    alerts = [container(one.record, schema) for one in simulate_night(3, date(2026, 11, 21), 60)]
    decoder, rejected, before = Decoder(stream.wanted, stream.framing), 0, 0
    for batch in range(count // BATCH):
        messages = [rng.choice((mutated, mutated_inside))(rng, rng.choice(alerts)) for _ in range(BATCH)]
        decoded = decoder.decode(messages)
        assert len(decoded.columns) + len(decoded.rejected) == BATCH
        assert {one.error.reason for one in decoded.rejected} <= set(REASONS)
        stream.check(decoded.columns)
        rejected += len(decoded.rejected)
        if batch == 60:  # the caches of headers, schemas and plans are full by then
            before = peak()
    assert peak() - before < GROWTH_KIB
    assert 0.3 * count < rejected < count
