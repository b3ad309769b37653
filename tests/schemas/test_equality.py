"""Every value of every good file at hand is fastavro's value: what streams want, all that a schema has, and slowly."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.streams.ztf import Ztf
from skimstream.producer.encode import container, plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.columns import Columns, Wanted
from skimstream.schemas.decode import Choice, Decoder
from skimstream.schemas.registry import Registry

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not DATA.exists(), reason="needs ../shared")
Records = Sequence[Mapping[str, Any]]

NUMBERS, INTEGERS, TEXTS = {"float", "double"}, {"boolean", "int", "long"}, {"string", "enum"}
SOURCE = Wanted(
    numbers=("psFlux", "psFluxErr", "psfFlux", "psfFluxErr", "midPointTai", "midpointMjdTai", "ra", "dec", "decl"),
    integers=("diaSourceId", "diaObjectId", "ssObjectId", "parentDiaSourceId"),
    texts=("filterName", "band"),
)
LSST = Wanted(
    numbers=tuple(f"diaSource.{name}" for name in SOURCE.numbers),
    integers=("alertId", "diaSourceId", *(f"diaSource.{name}" for name in SOURCE.integers), "diaObject.diaObjectId"),
    texts=tuple(f"diaSource.{name}" for name in SOURCE.texts),
    tables={"prvDiaSources": SOURCE, "prvDiaForcedSources": SOURCE},
)


# ---- all that a schema has


def everything(schema: Any, names: dict[str, Any]) -> Wanted:
    """Every number, integer, text and array of records that a parsed record's schema leads to."""
    found: dict[str, list[str]] = {"numbers": [], "integers": [], "texts": []}
    tables: dict[str, Wanted] = {}

    def walk(kind: Any, path: str) -> None:
        kind = resolved(kind, names)
        branches = [resolved(one, names) for one in kind] if isinstance(kind, list) else [kind]
        branches = [one for one in branches if name_of(one) != "null"]
        kinds = {name_of(one) for one in branches}
        if len(branches) == 1 and kinds == {"record"}:
            for field in branches[0]["fields"]:
                walk(field["type"], f"{path}.{field['name']}" if path else field["name"])
        elif len(branches) == 1 and kinds == {"array"}:
            items = resolved(branches[0]["items"], names)
            if name_of(items) == "record":
                tables[path] = everything(items, names)
        elif kinds and kinds <= NUMBERS | INTEGERS:
            found["integers" if kinds <= INTEGERS else "numbers"].append(path)
        elif kinds and kinds <= TEXTS | INTEGERS:
            found["texts"].append(path)

    walk(schema, "")
    return Wanted(tuple(found["numbers"]), tuple(found["integers"]), tuple(found["texts"]), tables)


def resolved(kind: Any, names: dict[str, Any]) -> Any:
    """A type by its name; {"type": "long"} is "long"."""
    kind = names.get(kind, kind) if isinstance(kind, str) else kind
    if isinstance(kind, Mapping):
        if "name" in kind:
            names[kind["name"]] = kind
        elif kind["type"] not in ("array", "map"):
            return resolved(kind["type"], names)
    return kind


def name_of(kind: Any) -> str:
    return str(kind["type"] if isinstance(kind, Mapping) else kind)


# ---- the comparison, by nothing of ours


def at(record: Any, path: str) -> Any:
    for part in path.split("."):
        record = record.get(part) if isinstance(record, Mapping) else None
    return record


def same(columns: Columns, records: Records) -> int:
    """Assert that columns hold the records' values, bit for bit; how many values there are."""
    wanted, n = columns.wanted, len(records)
    assert len(columns) == n
    for path in wanted.numbers:
        values = [at(record, path) for record in records]
        absent = [value is None for value in values]
        assert columns.null(path).tolist() == absent, path
        expected = np.array([np.nan if value is None else float(value) for value in values])
        assert_same_bits(columns.number(path), expected, path)
    for path in wanted.integers:
        values = [at(record, path) for record in records]
        assert columns.null(path).tolist() == [value is None for value in values], path
        assert columns.integer(path).tolist() == [int(value or 0) for value in values], path
    for path in wanted.texts:
        values = [at(record, path) for record in records]
        texts = [None if value is None else str(value) for value in values]
        assert [columns.text(path).at(row) for row in range(n)] == texts, path
    count = n * (len(wanted.numbers) + len(wanted.integers) + len(wanted.texts))
    for path in wanted.tables:
        lists = [at(record, path) or [] for record in records]
        offsets, children = columns.table(path)
        assert np.diff(offsets).tolist() == [len(rows) for rows in lists], path
        count += same(children, [row for rows in lists for row in rows])
    return count


def assert_same_bits(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], path: str) -> None:
    """0.0 is not -0.0; one NaN is like another."""
    known = ~np.isnan(expected)
    assert np.array_equal(np.isnan(found), ~known), path
    assert found[known].tobytes() == expected[known].tobytes(), path


def decoded(decoder: Decoder, messages: Sequence[bytes], keys: Sequence[bytes | None] | None = None) -> Columns:
    found = decoder.decode(messages, keys)
    assert [str(one.error) for one in found.rejected] == []
    return found.columns


# ---- the files


def archive(name: str, most: int | None = None) -> list[bytes]:
    """The alerts of a tarball; of `most`, evenly spread."""
    with tarfile.open(DATA / name) as tar:
        files = [tar.extractfile(member) for member in tar if member.name.endswith(".avro")]
        messages = [file.read() for file in files if file is not None]
    return messages if most is None else messages[:: len(messages) // most]


def read(message: bytes) -> tuple[Any, list[Mapping[str, Any]]]:
    """A container's writer schema and its records. Times are the integers that they are written as."""
    reader: Any = fastavro.block_reader(io.BytesIO(message))
    text = json.dumps(reader.writer_schema)
    schema, records = parsed(text), []
    for block in reader:
        records += [bare(block.bytes_, schema) for _ in range(block.num_records)]
    return schema, records


@cache
def parsed(text: str | bytes) -> Any:
    """A schema without its logical types."""
    return fastavro.parse_schema(
        json.loads(text, object_pairs_hook=lambda pairs: {key: value for key, value in pairs if key != "logicalType"})
    )


def bare(stream: Any, schema: Any) -> Mapping[str, Any]:
    record = fastavro.schemaless_reader(stream, schema, None)
    assert isinstance(record, dict)
    return record


def compare(messages: Sequence[bytes], projected: Wanted, most: int = 500) -> None:
    """Projected, all schemas in one batch as they come; then each schema's whole, and by fastavro."""
    groups: dict[str, tuple[Any, list[bytes], list[Mapping[str, Any]]]] = {}
    for start in range(0, len(messages), most):
        batch, records = messages[start : start + most], []
        for message in batch:
            schema, (record,) = read(message)
            records.append(record)
            group = groups.setdefault(json.dumps(schema), (schema, [], []))
            group[1].append(message)
            group[2].append(record)
        same(decoded(Decoder(projected), batch), records)
    for schema, members, records in groups.values():
        compare_whole(schema, members, records, Decoder)


def compare_whole(schema: Any, members: Sequence[bytes], records: Records, decoder: Any) -> None:
    wanted = everything(schema, {})
    assert len(wanted.paths) > 5
    quick = decoder(wanted)
    values = 0
    for start in range(0, len(members), 300):
        values += same(decoded(quick, members[start : start + 300]), records[start : start + 300])
    assert quick.fallbacks == 0
    assert values > 5 * len(members)
    # A number where a text is wanted is fastavro's to read, and the whole record with it.
    (number, *integers) = wanted.integers
    odd = Wanted(wanted.numbers, tuple(integers), (*wanted.texts, number), wanted.tables)
    slow = decoder(odd)
    same(decoded(slow, members[:3]), records[:3])
    assert slow.fallbacks == 1


ZTF = ["burst_20181129_v3.2_263", "kowalski_v3.3_v4.01_36", "mixed_versions_59"]


@needs_shared
@pytest.mark.parametrize("name", ZTF)
def test_ztf_alerts(name: str) -> None:
    compare(archive(f"ztf/{name}.tar.gz"), Ztf.wanted)


@needs_shared
def test_raw_rubin_alerts_of_a_broker() -> None:
    compare(archive("lsst/fink_broker_rubin_raw_60.tar.gz"), LSST)


@needs_shared
@pytest.mark.parametrize("most", [600, pytest.param(None, marks=pytest.mark.nightly)])
def test_elasticc_alerts(most: int | None) -> None:
    messages = archive("lsst/elasticc_v0_9_5607.tar.gz", most)
    assert len(messages) >= (most or 5_607)
    compare(messages, LSST)


@needs_shared
@pytest.mark.parametrize(
    "path", sorted(DATA.glob("lsst/*.avro")) + sorted(DATA.glob("fink/ocf/*.avro")), ids=lambda path: path.stem
)
def test_files_of_many_records(path: Path) -> None:
    """Each record written out alone with the file's own schema."""
    schema, records = read(path.read_bytes())
    messages = []
    for record in records:
        out = io.BytesIO()
        fastavro.writer(out, schema, [record], codec="deflate")
        messages.append(out.getvalue())
    records = [read(message)[1][0] for message in messages]
    compare_whole(schema, messages, records, Decoder)


@needs_shared
@pytest.mark.parametrize("path", sorted(DATA.glob("lsst/wire*/id*.avro")), ids=lambda path: path.stem[:12])
def test_rubin_messages(path: Path) -> None:
    schema_id = int(path.name.removeprefix("id").split("_")[0])
    registry, value = Registry(folder=DATA / "lsst/schemas"), path.read_bytes()
    if not registry.known(schema_id):
        assert schema_id == 12345
        return
    schema = parsed(registry.schema(schema_id))
    record = bare(io.BytesIO(value[5:]), schema)
    compare_whole(schema, [value], [record], lambda wanted: Decoder(wanted, "confluent", registry=registry))
    same(decoded(Decoder(LSST, "auto", registry=registry), [value]), [record])


@needs_shared
@pytest.mark.parametrize("path", sorted(DATA.glob("fink/kafka_framing/*.key.json")), ids=lambda path: path.stem)
def test_fink_messages(path: Path) -> None:
    key, value = path.read_bytes(), path.with_name(path.name.replace("key.json", "value.bin")).read_bytes()
    schema = parsed(key)
    record = bare(io.BytesIO(value), schema)
    framings: tuple[Choice, ...] = ("key", "auto")
    for framing in framings:
        assert same(decoded(Decoder(everything(schema, {}), framing), [value], [key]), [record]) > 100
        same(decoded(Decoder(Ztf.wanted, framing), [value], [key]), [record])


def test_simulated_alerts() -> None:
    schema = load("ztf_like")
    compare([container(one.record, schema) for one in simulate_night(11, date(2026, 11, 21), 200)], Ztf.wanted)


def test_simulated_events() -> None:
    schema, stream = load("behaviour"), Behaviour()
    made = simulate_sessions(11, datetime(2026, 11, 21, tzinfo=UTC), 2_000)
    messages = [plain(one.record, schema) for one in made]
    records: Any = [fastavro.schemaless_reader(io.BytesIO(one), schema.parsed, None) for one in messages]
    for wanted in (stream.wanted, everything(schema.parsed, {})):
        decoder = Decoder(wanted, "plain", stream.schema())
        assert same(decoded(decoder, messages), records) > 20 * len(messages)
        assert decoder.fallbacks == 0


def test_a_difference_would_be_seen() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "x", "type": "double"}, {"name": "n", "type": "long"}]}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"x": 0.0, "n": 1})
    columns = decoded(Decoder(Wanted(("x",), ("n",)), "plain", schema), [out.getvalue()])
    assert same(columns, [{"x": 0.0, "n": 1}]) == 2
    wrong: list[dict[str, Any]] = [{"x": -0.0, "n": 1}, {"x": None, "n": 1}, {"x": 0.0, "n": 2}, {"x": 0.0, "n": None}]
    for record in wrong:
        with pytest.raises(AssertionError):
            same(columns, [record])
