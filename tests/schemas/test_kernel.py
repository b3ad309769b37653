"""The compiled decoder against two references: fastavro, and a strict plain reader that walks the schema itself."""

import io
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import assume, given, note, reject, settings
from hypothesis import strategies as st

from skimstream.schemas.columns import Wanted
from skimstream.schemas.errors import DecodeError
from skimstream.schemas.gather import gather
from skimstream.schemas.kernel import BRANCH, COUNT, FAULTS, LEFT, LENGTH, NULL_ROW, OK, SHORT, SYMBOL, UTF8, VARINT
from skimstream.schemas.reader import read_record
from stage.projection import contents, parsed, run_project

INTEGERS = {"boolean", "int", "long"}
READ = {"numbers": INTEGERS | {"float", "double"}, "integers": INTEGERS, "texts": {"string", "enum"}}
PRIMITIVES = ("boolean", "int", "long", "float", "double", "bytes", "string")
LOGICAL = (
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "int", "logicalType": "date"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    {"type": "string", "logicalType": "uuid"},
)
EDGES = (0, 1, -1, 63, -64, 64, 2**31 - 1, -(2**31), 2**53 + 1, 2**62 + 1, 2**63 - 1, -(2**63))
LETTERS = "azAZ09 _é߿ࠀ€퟿\ue000\uffff\U00010000\U0010ffff\x00"


# Random schemas, their messages, and what to read from them.


class Maker:
    """Random schemas: every kind of type, nested; no two fields of one name, so that every path means one thing."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.number = 0
        self.named: list[str] = []

    def name(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def record(self, depth: int, space: str) -> dict[str, Any]:
        naming = self.naming("R") if depth else {"name": "Top", "namespace": "top"}
        out: dict[str, Any] = {"type": "record", **naming}
        space = out.get("namespace", space)
        most = self.random.choice((0, 3, 3, 5)) if depth else 8
        out["fields"] = [{"name": self.name("f"), "type": self.type(depth + 1, space)} for _ in range(most)]
        self.named.append(f"{space}.{out['name']}")
        return out

    def naming(self, prefix: str) -> dict[str, Any]:
        if self.random.random() < 0.3:
            return {"name": self.name(prefix), "namespace": self.random.choice(("org.one", "two"))}
        return {"name": self.name(prefix)}

    def type(self, depth: int, space: str, *, union: bool = True) -> Any:
        simple = depth > 4 or self.random.random() < 0.45
        if simple:
            return self.random.choice((*PRIMITIVES, *PRIMITIVES, self.random.choice(LOGICAL), "null"))
        kinds = ["enum", "fixed", "record", "record", "array", "array", "map", "reference"]
        if union:
            kinds += ["nullable"] * 4 + ["union"] * 2
        kind = self.random.choice(kinds)
        if kind == "nullable":
            other = self.type(depth + 1, space, union=False)
            return self.random.sample(["null", other if other != "null" else "int"], 2)
        if kind == "union":
            kinds = ["record", "record", "null", "long", "double", "string", "map"]
            kinds = self.random.sample(kinds, self.random.choice((1, 2, 3, 4)))
            return [self.branch(one, depth + 1, space) for one in kinds]
        if kind == "record":
            return self.record(depth, space)
        if kind == "array":
            items = self.record(depth + 1, space) if self.random.random() < 0.6 else self.type(depth + 1, space)
            if isinstance(items, dict) and items["type"] == "record" and self.random.random() < 0.2:
                items = ["null", items]
            return {"type": "array", "items": items if items != "null" else "string"}
        if kind == "map":
            return {"type": "map", "values": self.type(depth + 1, space)}
        if kind == "reference" and self.named:
            return self.random.choice(self.named)
        naming = self.naming("N")
        self.named.append(f"{naming.get('namespace', space)}.{naming['name']}")
        if kind == "fixed":
            return {"type": "fixed", **naming, "size": self.random.choice((0, 1, 4, 16))}
        return {"type": "enum", **naming, "symbols": ["A", "Bb", "Ccc"][: self.random.randint(1, 3)]}

    def branch(self, kind: str, depth: int, space: str) -> Any:
        if kind == "map":
            return {"type": "map", "values": self.type(depth, space)}
        return self.record(depth, space) if kind == "record" else kind


def names_of(schema: Any) -> dict[str, Any]:
    """All named types of a parsed schema."""
    found: dict[str, Any] = {}
    if isinstance(schema, list):
        for one in schema:
            found |= names_of(one)
    elif isinstance(schema, Mapping):
        if "name" in schema:
            found[schema["name"]] = schema
        inner = [schema[key] for key in ("type", "items", "values") if key in schema]
        found |= names_of(inner + [one["type"] for one in schema.get("fields", [])])
    return found


def resolved(schema: Any, names: Mapping[str, Any]) -> Any:
    """What a name stands for; {"type": "long"} is "long"."""
    schema = names.get(schema, schema) if isinstance(schema, str) else schema
    if isinstance(schema, Mapping) and (not isinstance(schema["type"], str) or schema["type"] in (*PRIMITIVES, "null")):
        return resolved(schema["type"], names)
    return schema


def kind_of(schema: Any) -> str:
    return "union" if isinstance(schema, list) else str(schema["type"] if isinstance(schema, Mapping) else schema)


def long(value: int) -> bytes:
    """Avro's zigzag varint."""
    raw = (value << 1) ^ (value >> 63)
    out = bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def encode(schema: Any, names: Mapping[str, Any], random: Random, blocks: bool) -> bytes:
    """The bytes of a random value. `blocks`: arrays and maps in several blocks, some with their sizes."""
    schema = resolved(schema, names)
    kind = kind_of(schema)

    def inner(one: Any) -> bytes:
        return encode(one, names, random, blocks)

    if kind == "union":
        branch = random.randrange(len(schema))
        return long(branch) + inner(schema[branch])
    if kind == "record":
        return b"".join(inner(one["type"]) for one in schema["fields"])
    if kind in ("array", "map"):
        key, items = kind == "map", schema["values" if kind == "map" else "items"]
        if isinstance(items, list) and "null" in items and random.random() < 0.8:
            rest = [one for one in items if one != "null"]
            if rest:  # a row that is null makes the message invalid: now and then is enough
                branch = items.index(random.choice(rest))
                parts = [long(branch) + inner(items[branch]) for _ in range(random.choice((0, 1, 4)))]
            else:
                parts = []
            parts = [(text(random) if key else b"") + part for part in parts]
        else:
            parts = [(text(random) if key else b"") + inner(items) for _ in range(random.choice((0, 1, 1, 4)))]
        return b"".join(in_blocks(parts, random, blocks)) + b"\x00"
    if kind == "enum":
        return long(random.randrange(len(schema["symbols"])))
    if kind == "fixed":
        return random.randbytes(schema["size"])
    if kind == "null":
        return b""
    if kind == "boolean":
        return random.choice((b"\x00", b"\x01"))
    if kind == "int":
        return long(random.choice((random.randint(-(2**31), 2**31 - 1), *EDGES[:8])))
    if kind == "long":
        return long(random.choice((random.randint(-(2**63), 2**63 - 1), *EDGES)))
    if kind in ("float", "double"):
        size = 4 if kind == "float" else 8
        special = struct.pack("<f" if size == 4 else "<d", random.choice((0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324)))
        return random.choice((special, random.randbytes(size)))
    return text(random)


def text(random: Random) -> bytes:
    one = "".join(random.choices(LETTERS, k=random.choice((0, 1, 5, 40)))).encode()
    return long(len(one)) + one


def in_blocks(parts: Sequence[bytes], random: Random, blocks: bool) -> Iterator[bytes]:
    at = 0
    while at < len(parts):
        size = random.randint(1, len(parts) - at) if blocks else len(parts)
        body = b"".join(parts[at : at + size])
        yield (long(-size) + long(len(body)) if blocks and random.random() < 0.5 else long(size)) + body
        at += size


def choose(schema: Any, names: Mapping[str, Any], random: Random, share: float) -> Wanted:
    """Some of the paths that a plan covers in a record, in random order, and some that lead nowhere."""
    found: dict[str, list[str]] = {name: [] for name in READ}
    tables: dict[str, Wanted] = {}

    def visit(one: Any, path: str) -> None:
        one = resolved(one, names)
        branches = [resolved(branch, names) for branch in one] if isinstance(one, list) else [one]
        kinds = {kind_of(branch) for branch in branches} - {"null"}
        if kinds == {"array"}:
            array = next(branch for branch in branches if kind_of(branch) == "array")
            items = resolved(array["items"], names)
            rows = [resolved(item, names) for item in items if item != "null"] if isinstance(items, list) else [items]
            if len(rows) == 1 and kind_of(rows[0]) == "record" and random.random() < share:
                tables[path] = choose(rows[0], names, random, share)
            return
        if kinds & {"array", "map"}:
            return
        for branch in branches:
            if kind_of(branch) == "record":
                for one_field in branch["fields"]:
                    visit(one_field["type"], f"{path}.{one_field['name']}".lstrip("."))
        if "record" in kinds or not path:
            if random.random() < share / 4:
                found["numbers"].append(f"{path}.nowhere".lstrip("."))
            return
        if random.random() < share:
            fitting = [name for name, kinds_read in READ.items() if kinds <= kinds_read]
            if fitting:
                found[random.choice(fitting)].append(path)
        elif random.random() < 0.1:
            found["texts"].append(f"{path}.inside")

    visit(schema, "")
    for paths in found.values():
        random.shuffle(paths)
    return Wanted(tuple(found["numbers"]), tuple(found["integers"]), tuple(found["texts"]), tables)


# The strict plain reader: what the kernel should say of any bytes at all, good or bad.


class Bad(Exception):
    """These bytes are no message; the argument is the kernel's code for what is wrong."""


class Plain:
    """Reads a value by its schema, as plainly as Python can. Knows what is wanted, since the rest is skipped unread."""

    def __init__(self, data: bytes, names: Mapping[str, Any]) -> None:
        self.data, self.at, self.names = data, 0, names

    def take(self, size: int, fault: int = SHORT) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise Bad(fault)
        self.at += size
        return self.data[self.at - size : self.at]

    def long(self) -> int:
        raw = 0
        for i in range(10):
            byte = self.take(1)[0]
            raw |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if raw >> 64:
                    break
                return (raw >> 1) ^ -(raw & 1)
        raise Bad(VARINT)

    def message(self, schema: Any, wanted: Wanted) -> Any:
        record = self.value(schema, wanted, "")
        if self.at < len(self.data):
            raise Bad(LEFT)
        return record

    def value(self, schema: Any, wanted: Wanted, path: str) -> Any:
        schema = resolved(schema, self.names)
        kind = kind_of(schema)
        if kind == "record":
            dot = path + "." if path else ""
            return {one["name"]: self.value(one["type"], wanted, dot + one["name"]) for one in schema["fields"]}
        if kind == "union":
            others = [kind_of(resolved(one, self.names)) for one in schema if one != "null"]
            if len(schema) == 2 and len(others) == 1 and others[0] in (*PRIMITIVES, "enum", "fixed"):
                branch = {0: 0, 2: 1}.get(self.take(1)[0], -1)
            else:
                branch = self.long()
            if not 0 <= branch < len(schema):
                raise Bad(BRANCH)
            return self.value(schema[branch], wanted, path)
        if kind in ("array", "map"):
            return self.items(schema, kind, wanted.tables.get(path))
        if kind == "null":
            return None
        if kind == "boolean":
            return self.take(1) != b"\x00"
        if kind in ("int", "long"):
            return self.long()
        if kind in ("float", "double"):
            return struct.unpack("<f" if kind == "float" else "<d", self.take(4 if kind == "float" else 8))[0]
        if kind == "fixed":
            return self.take(schema["size"])
        if kind == "enum":
            place = self.long()
            if not 0 <= place < len(schema["symbols"]):
                raise Bad(SYMBOL)
            return schema["symbols"][place]
        body = self.take(self.long(), LENGTH)
        if kind == "bytes" or path not in wanted.texts:
            return body
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise Bad(UTF8) from error

    def items(self, schema: Any, kind: str, wanted: Wanted | None) -> Any:
        found = []
        while count := self.long():
            if count < 0:
                size = self.long()
                if not 0 <= size <= len(self.data) - self.at:
                    raise Bad(LENGTH)
                if wanted is None:
                    self.at += size
                    continue
            if abs(count) > len(self.data) - self.at:
                raise Bad(COUNT)
            for _ in range(abs(count)):
                if kind == "map":
                    self.take(self.long(), LENGTH)
                found.append(self.value(schema["values" if kind == "map" else "items"], wanted or Wanted(), ""))
                if wanted is not None and found[-1] is None:
                    raise Bad(NULL_ROW)
        return found


# Comparing.


def by_fastavro(schema: Any, wanted: Wanted, message: bytes) -> Mapping[str, Any] | None:
    """The record, or None where it can't be read or holds what isn't wanted."""
    try:
        record = read_record(message, schema)
        gather([record], wanted)
    except DecodeError:
        return None
    return record


def plainly(schema: Any, wanted: Wanted, messages: Sequence[bytes]) -> tuple[list[Any], list[int]]:
    """The records of the good messages, and each message's code."""
    names, records, codes = names_of(schema), [], []
    for message in messages:
        try:
            records.append(Plain(message, names).message(schema, wanted))
            codes.append(OK)
        except Bad as bad:
            codes.append(bad.args[0])
    return records, codes


def case(random: Random, share: float) -> tuple[Any, dict[str, Any], Wanted]:
    """A parsed schema, its named types and what to read."""
    raw = Maker(random).record(0, "")
    try:
        schema = parsed(raw)
    except DecodeError as error:
        assume("take no bytes" not in error.detail)
        raise
    names = names_of(schema)
    wanted = choose(schema, names, random, share)
    note(f"{json.dumps(raw)}\n{wanted}")
    return schema, names, wanted


RANDOMS = st.randoms(use_true_random=True)


def check_equal(random: Random, share: float) -> None:
    schema, names, wanted = case(random, share)
    messages = [encode(schema, names, random, blocks=random.random() < 0.5) for _ in range(random.randint(1, 5))]
    records = [by_fastavro(schema, wanted, one) for one in messages]
    for record in [one for one in records if one is not None]:  # and as fastavro itself writes them
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, record)
        messages.append(stream.getvalue())
        records.append(by_fastavro(schema, wanted, messages[-1]))
    columns, status = run_project(schema, wanted, messages)
    good = [record for record in records if record is not None]
    assert [code == 0 for code in status] == [record is not None for record in records]
    assert {code for code in status if code} <= {NULL_ROW}
    assert contents(columns) == contents(gather(good, wanted))
    assert contents(columns) == contents(gather(plainly(schema, wanted, messages)[0], wanted))


@given(RANDOMS, st.sampled_from((0.1, 0.5, 1.0)))
@settings(deadline=None, max_examples=300)
def test_columns_equal_fastavros(random: Random, share: float) -> None:
    check_equal(random, share)


@pytest.mark.nightly
@given(RANDOMS, st.sampled_from((0.1, 0.5, 1.0)))
@settings(deadline=None, max_examples=10_000)
def test_columns_equal_fastavros_10_000_times(random: Random, share: float) -> None:
    check_equal(random, share)


# Bounds: messages laid back to back in one buffer.


def check_among_neighbours(schema: Any, wanted: Wanted, neighbour: bytes, damaged: Sequence[bytes]) -> list[bool]:
    """Each damaged message between two good ones: it reads as the plain reader says, and they read as ever."""
    messages = [neighbour, *(part for one in damaged for part in (one, neighbour))]
    columns, status = run_project(schema, wanted, messages)
    records, codes = plainly(schema, wanted, messages)
    assert status == codes  # a read past the end would show: as LEFT where the plain reader says SHORT
    assert set(status) <= {OK, *FAULTS}
    assert contents(columns) == contents(gather(records, wanted))
    return [code == 0 for code in status[1::2]]


def a_good_message(schema: Any, names: Mapping[str, Any], wanted: Wanted, random: Random) -> bytes:
    for _ in range(20):
        message = encode(schema, names, random, blocks=True)
        if len(message) < 2_000 and by_fastavro(schema, wanted, message) is not None:
            return message
    reject()


@given(RANDOMS)
@settings(deadline=None, max_examples=60)
def test_a_message_cut_at_any_byte_fails_alone(random: Random) -> None:
    schema, names, wanted = case(random, 0.5)
    neighbour, whole = (a_good_message(schema, names, wanted, random) for _ in range(2))
    whole = whole[:300] if len(whole) > 300 else whole  # so, too, a cut one; keeps the test short
    cuts = [whole[:at] for at in range(len(whole))]
    read = check_among_neighbours(schema, wanted, neighbour, cuts)
    for cut, fine in zip(cuts, read, strict=True):
        assert not fine or by_fastavro(schema, wanted, cut) is not None


def mutated(message: bytes, random: Random) -> bytes:
    out = bytearray(message)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randint(0, len(out))
        change = random.randrange(4)
        if change == 0:
            out[at:at] = random.choice((b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff" * 9 + b"\x01"))
        elif change == 1:
            del out[at : at + random.choice((1, 4))]
        elif at < len(out):
            out[at] = random.randrange(256) if change == 2 else out[at] ^ 1 << random.randrange(8)
    return bytes(out)


def check_mutated(random: Random, share: float) -> None:
    schema, names, wanted = case(random, share)
    neighbour = a_good_message(schema, names, wanted, random)
    check_among_neighbours(schema, wanted, neighbour, [mutated(neighbour, random) for _ in range(40)])


@given(RANDOMS, st.sampled_from((0.3, 1.0)))
@settings(deadline=None, max_examples=100)
def test_mutated_messages_fail_alone(random: Random, share: float) -> None:
    check_mutated(random, share)


@pytest.mark.nightly
@given(RANDOMS, st.sampled_from((0.3, 1.0)))
@settings(deadline=None, max_examples=5_000)
def test_200_000_mutated_messages_fail_alone(random: Random, share: float) -> None:
    check_mutated(random, share)
