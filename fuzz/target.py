"""What is fuzzed: any bytes, in every framing, into the decoder. It needs no fuzzer: tests run the corpus through it.

Nothing may be raised; every message comes out as a row or with a reason; its neighbours come through untouched; the
columns hold together; and what a stream's check lets pass is finite.
"""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import fastavro
import numpy as np

from skimstream.consumer.streams.base import Stream
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.streams.ztf import Ztf
from skimstream.schemas.columns import Columns, Wanted
from skimstream.schemas.decode import Choice, Decoded, Decoder
from skimstream.schemas.errors import REASONS
from skimstream.schemas.registry import Registry

#: Between the key and the value of one input.
BETWEEN = b"\n\n"
#: Its file 1.avsc is the schema with the id 1.
FOLDER = Path(__file__).resolve().parents[1] / "schemas/avsc/behaviour"
BEHAVIOUR, ZTF = Behaviour(), Ztf()
#: What no plan covers for most schemas: fastavro reads them.
ODD = Wanted(texts=("x", "user_id"), numbers=("who", "candidate.jd"), tables={"candidate": Wanted(numbers=("jd",))})


def _neighbour() -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "neighbour", "fields": []}, [{}], sync_marker=b"0123456789abcdef")
    return out.getvalue()


NEIGHBOUR = _neighbour()


REGISTRY = Registry(folder=FOLDER)
# These two meet no schema but their own, so they may be old; the others are made anew for every input, so that what
# fails once fails again.
PLAIN = Decoder(BEHAVIOUR.wanted, "plain", BEHAVIOUR.schema())
CONFLUENT = Decoder(BEHAVIOUR.wanted, "confluent", registry=REGISTRY)


def one_input(data: bytes) -> None:
    """Decode `data` in every framing; AssertionError or anything else that is raised is a bug."""
    key, _, value = data.rpartition(BETWEEN)
    check(PLAIN, [data], stream=BEHAVIOUR)
    check(CONFLUENT, [data, b"\x00\x00\x00\x00\x01" + data], stream=BEHAVIOUR)
    check(new("container", ZTF.wanted), [NEIGHBOUR, data, NEIGHBOUR, data], stream=ZTF)
    check(new("auto", BEHAVIOUR.wanted), [NEIGHBOUR, value, data, b"", None], [None, key, None, key, b"x"], BEHAVIOUR)
    check(new("bson", BEHAVIOUR.wanted), [data, zlib.compress(data, 1)], stream=BEHAVIOUR)
    if key:
        check(new("key", ODD), [value], [key])
    else:
        check(new("container", ODD), [data])


def new(framing: Choice, wanted: Wanted) -> Decoder:
    """A decoder that knows nothing yet."""
    return Decoder(wanted, framing, registry=REGISTRY)


def check(
    decoder: Decoder,
    messages: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    stream: Stream | None = None,
) -> Decoded:
    """One batch, and all that must be true of what comes out."""
    decoded = decoder.decode(messages, keys)
    refused = [one.index for one in decoded.rejected]
    assert sorted([*decoded.index.tolist(), *refused]) == list(range(len(messages)))
    assert decoded.index.tolist() == sorted(decoded.index.tolist())
    assert len(decoded.columns) == len(decoded.index)
    assert all(one.error.reason in REASONS for one in decoded.rejected)
    assert not {i for i, message in enumerate(messages) if message is NEIGHBOUR} & set(refused)
    hold_together(decoded.columns)
    if stream is not None:
        stays_finite(stream, decoded.columns)
    return decoded


def hold_together(columns: Columns) -> None:
    """Shapes fit, nulls are nulls, texts lie inside of their buffer and are texts; so for the child tables."""
    n, wanted = len(columns), columns.wanted
    assert columns.numbers.shape == columns.number_null.shape == (n, len(wanted.numbers))
    assert columns.integers.shape == columns.integer_null.shape == (n, len(wanted.integers))
    assert columns.text_start.shape == columns.text_length.shape == (n, len(wanted.texts))
    assert np.isnan(columns.numbers[columns.number_null]).all()
    assert (columns.integers[columns.integer_null] == 0).all()
    start, length = columns.text_start, columns.text_length
    assert (length >= -1).all()
    assert (start >= 0).all()
    assert (start + np.maximum(length, 0) <= len(columns.buffer)).all()
    for path in wanted.texts:
        text = columns.text(path)
        assert all((text.at(row) is None) == bool(text.null()[row]) for row in range(n))  # at() decodes it
    assert columns.tables.keys() == wanted.tables.keys()
    for offsets, children in columns.tables.values():
        assert offsets.shape == (n + 1,)
        assert offsets[0] == 0
        assert (np.diff(offsets) >= 0).all()
        assert offsets[-1] == len(children)
        hold_together(children)


def stays_finite(stream: Stream, columns: Columns) -> None:
    """The numbers that a record must have are finite wherever the stream's check lets it pass."""
    passed = np.setdiff1d(np.arange(len(columns)), [row for row, _ in stream.check(columns)])
    if stream is ZTF:
        assert np.isfinite(
            np.stack([columns.number(f"candidate.{name}")[passed] for name in ("jd", "ra", "dec")])
        ).all()
    else:
        assert (np.isfinite(columns.numbers) | columns.number_null)[passed].all()
