"""Aliases and defaults of wanted paths: what the writer's schema decides, the compiled plan and the plain way alike."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from skimstream.schemas.columns import Columns, Wanted
from skimstream.schemas.decode import Decoder
from skimstream.schemas.gather import gather
from skimstream.schemas.plan import NotCovered, compile_plan
from skimstream.schemas.project import project
from skimstream.schemas.reader import parse_schema, read_file, read_record
from skimstream.schemas.resolve import resolve

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def parsed(schema: Any) -> Any:
    return parse_schema(json.dumps(schema).encode())


def written(schema: Any, *values: Any) -> list[bytes]:
    messages = []
    for value in values:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed(schema), value)
        messages.append(stream.getvalue())
    return messages


def compiled(schema: Any, wanted: Wanted, messages: list[bytes]) -> Columns:
    ends = np.cumsum([len(one) for one in messages], dtype=np.int64)
    starts = ends - np.array([len(one) for one in messages], np.int64)
    data = np.frombuffer(bytearray().join(messages), np.uint8)
    columns, status = project(compile_plan(parsed(schema), wanted), data, starts, ends)
    assert not status.any()
    return columns


def plain(schema: Any, wanted: Wanted, messages: list[bytes]) -> Columns:
    return gather([read_record(one, parsed(schema)) for one in messages], resolve(wanted, parsed(schema)))


def contents(columns: Columns) -> dict[str, Any]:
    """Every column's values, null as None; children a list a row."""
    found: dict[str, Any] = {}
    for path in columns.wanted.numbers:
        found[path] = [
            None if null else repr(one)
            for one, null in zip(columns.number(path).tolist(), columns.null(path), strict=True)
        ]
    for path in columns.wanted.integers:
        found[path] = [
            None if null else one for one, null in zip(columns.integer(path).tolist(), columns.null(path), strict=True)
        ]
    for path in columns.wanted.texts:
        found[path] = [columns.text(path).at(row) for row in range(len(columns))]
    for path in columns.wanted.tables:
        offsets, rows = columns.table(path)
        found[path] = offsets.tolist(), contents(rows)
    return found


def read(schema: Any, wanted: Wanted, *values: Any) -> dict[str, Any]:
    """What the compiled plan and the plain way both make of the values."""
    messages = written(schema, *values)
    found = contents(compiled(schema, wanted, messages))
    assert found == contents(plain(schema, wanted, messages))
    return found


NEW_NAMES = Wanted(numbers=("mjd",), texts=("band",), aliases={"mjd": ("midPointTai", "jd"), "band": ("filterName",)})


def test_the_first_path_that_the_schema_has_is_read() -> None:
    old, new = record("old", midPointTai="double", filterName="string"), record("new", mjd="float", band="string")
    assert read(old, NEW_NAMES, {"midPointTai": 1.5, "filterName": "r"}) == {"mjd": ["1.5"], "band": ["r"]}
    assert read(new, NEW_NAMES, {"mjd": 2.5, "band": "g"}) == {"mjd": ["2.5"], "band": ["g"]}
    both = record("both", jd="long", midPointTai="double")
    assert read(both, NEW_NAMES, {"jd": 7, "midPointTai": 3.5}) == {"mjd": ["3.5"], "band": [None]}


def test_a_null_stays_null_whatever_an_alias_or_a_default_has() -> None:
    schema = record("r", mjd=["null", "double"], jd="double")
    wanted = Wanted(numbers=("mjd",), aliases={"mjd": ("jd",)}, defaults={"mjd": 9})
    assert read(schema, wanted, {"mjd": None, "jd": 1.0}, {"mjd": 2.0, "jd": 1.0}) == {"mjd": [None, "2.0"]}
    assert read(record("r", mjd="null", jd="double"), wanted, {"mjd": None, "jd": 1.0}) == {"mjd": [None]}


def test_a_default_stands_in_for_a_field_that_the_writer_lacks() -> None:
    wanted = Wanted(
        numbers=("x", "a"),
        integers=("i", "b"),
        texts=("c", "t", "d"),
        defaults={"a": 3, "b": (1 << 62) + 1, "c": "ünï", "d": "", "x": -1},
    )
    schema = record("r", x="double", i="int", t="string")
    found = read(schema, wanted, *({"x": 0.5, "i": i, "t": "T"} for i in range(3)))
    assert found["a"] == ["3.0"] * 3
    assert found["b"] == [(1 << 62) + 1] * 3
    assert found["c"] == ["ünï"] * 3
    assert found["d"] == [""] * 3
    assert (found["x"], found["i"], found["t"]) == (["0.5"] * 3, [0, 1, 2], ["T"] * 3)
    assert [row[0] for row in compile_plan(parsed(schema), wanted).program] == [
        row[0] for row in compile_plan(parsed(schema), Wanted(("x",), ("i",), ("t",))).program
    ]  # nothing is done for it message by message


def test_default_texts_and_an_enums_symbols_do_not_mix() -> None:
    schema = record("r", e={"type": "enum", "name": "e", "symbols": ["A", "B"]})
    wanted = Wanted(texts=("t", "e", "u"), defaults={"t": "T", "u": ""})
    assert compile_plan(parsed(schema), wanted).symbols[:, 2].tolist() == [1, 0, 0, 0, 2, 1, 0]
    assert read(schema, wanted, {"e": "B"}, {"e": "A"}) == {"t": ["T", "T"], "e": ["B", "A"], "u": ["", ""]}


def test_a_failed_message_takes_no_default_along() -> None:
    schema = record("r", x="double", rows=array(record("row", v="double")))
    rows = Wanted(numbers=("w", "v"), defaults={"w": 2})
    wanted = Wanted(("y",), texts=("t",), tables={"rows": rows}, defaults={"y": 1, "t": "d"})
    good, other = written(schema, {"x": 0.5, "rows": [{"v": 1.0}] * 3}, {"x": 0.5, "rows": []})
    decoded = Decoder(wanted, "plain", schema).decode([good, good[:-4], other, good])
    assert [one.index for one in decoded.rejected] == [1]
    assert contents(decoded.columns) == {
        "y": ["1.0"] * 3,
        "t": ["d"] * 3,
        "rows": ([0, 3, 3, 6], {"w": ["2.0"] * 6, "v": ["1.0"] * 6}),
    }


def test_tables_and_their_columns_have_aliases_of_their_own() -> None:
    row = record("row", psFlux="float", extra="long")
    schema = record("r", old=record("inner", history=["null", array(["null", row])]))
    children = Wanted(numbers=("psfFlux", "snr"), aliases={"psfFlux": ("flux", "psFlux")}, defaults={"snr": 5})
    wanted = Wanted(tables={"sources": children}, aliases={"sources": ("new.history", "old.history")})
    found = read(
        schema,
        wanted,
        {"old": {"history": [{"psFlux": 1.0, "extra": 1}, {"psFlux": 2.0, "extra": 1}]}},
        {"old": {"history": None}},
    )
    assert found == {"sources": ([0, 2, 2], {"psfFlux": ["1.0", "2.0"], "snr": ["5.0", "5.0"]})}
    assert read(record("r", x="int"), wanted, {"x": 1}) == {"sources": ([0, 0], {"psfFlux": [], "snr": []})}


def test_a_path_is_there_if_one_branch_of_each_union_leads_along_it() -> None:
    branches = ["null", record("a", v="double"), record("b", w="string"), "string"]
    schema = record("r", x=branches, y="double", m={"type": "map", "values": record("value", v="int")})
    wanted = Wanted(numbers=("x.v",), aliases={"x.v": ("y",)}, defaults={"x.v": 1})
    values = [{"x": one, "y": 8.0, "m": {}} for one in (None, {"v": 0.5}, {"w": "w"}, "text")]
    assert read(schema, wanted, *values) == {"x.v": [None, "0.5", None, None]}
    # A branch that isn't there at all, through null, a primitive or an array, is no path.
    for nowhere in ("x.z", "y.v", "x.v.v"):
        wanted = Wanted(numbers=(nowhere,), aliases={nowhere: ("y",)})
        assert read(schema, wanted, *values) == {nowhere: ["8.0"] * 4}
    # A map has every key: null where a value lacks it. Plans don't cover maps; the plain way reads them.
    wanted = Wanted(numbers=("m.k.v",), aliases={"m.k.v": ("y",)}, defaults={"m.k.v": 1})
    with pytest.raises(NotCovered):
        compile_plan(parsed(schema), wanted)
    decoded = Decoder(wanted, "plain", schema).decode(
        written(schema, {"x": None, "y": 8.0, "m": {"k": {"v": 2}}}, {"x": None, "y": 8.0, "m": {"l": {"v": 3}}})
    )
    assert contents(decoded.columns) == {"m.k.v": ["2.0", None]}
    wanted = Wanted(numbers=("m.k.w",), aliases={"m.k.w": ("y",)})
    assert read(schema, wanted, *values) == {"m.k.w": ["8.0"] * 4}


def test_null_on_the_way_is_decided_by_the_schema_not_by_the_record() -> None:
    """A record alone can't tell: `a` is null, but would have no `b` in any case."""
    schema = record("r", a=["null", record("inner", c="double")], d="double")
    wanted = Wanted(numbers=("a.b",), aliases={"a.b": ("d",)})
    values: list[dict[str, Any]] = [{"a": None, "d": 1.0}, {"a": {"c": 2.0}, "d": 3.0}]
    assert read(schema, wanted, *values) == {"a.b": ["1.0", "3.0"]}
    assert contents(gather(values, wanted)) == {"a.b": [None, "3.0"]}
    container = io.BytesIO()
    fastavro.writer(container, parsed(schema), values)
    assert [contents(one) for one in read_file(container.getvalue(), wanted)] == [{"a.b": ["1.0", "3.0"]}]
    twice = Wanted(("a.b", "d"), aliases=wanted.aliases)  # one field as two columns is fastavro's
    decoder = Decoder(twice, "plain", schema)
    assert contents(decoder.decode(written(schema, *values)).columns) == {"a.b": ["1.0", "3.0"], "d": ["1.0", "3.0"]}
    assert decoder.fallbacks == 1


def test_records_without_a_schema_have_what_their_keys_say() -> None:
    wanted = Wanted(
        numbers=("a.b",),
        texts=("t",),
        tables={"rows": Wanted(("x",), defaults={"x": 4})},
        aliases={"a.b": ("c",), "rows": ("list",)},
        defaults={"a.b": 1, "t": "none"},
    )
    messages = [
        b'{"a": {"b": 0.5}, "c": 2, "t": null, "rows": null, "list": [{}]}',
        b'{"a": {"b": null}, "c": 2}',
        b'{"a": null, "c": 2, "list": [{"x": null}, {}, {"x": 1}]}',
        b'{"a": {}, "c": 2, "t": "T"}',
        b'{"a": 5}',
    ]
    decoded = Decoder(wanted, "json").decode(messages)
    assert contents(decoded.columns) == {
        "a.b": ["0.5", None, None, "2.0", "1.0"],
        "t": [None, "none", "none", "T", "none"],
        "rows": ([0, 0, 0, 3, 3, 3], {"x": [None, "4.0", "1.0"]}),
    }


PROMOTED = [(True, "boolean"), (-5, "int"), (2**53 + 1, "long"), (-(2**63), "long"), (0.1, "float"), (0.1, "double")]


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize(("value", "kind"), PROMOTED)
def test_numbers_are_promoted_as_avro_does(value: float, kind: str, nullable: bool) -> None:
    schema = record("r", old=["null", kind] if nullable else kind)
    exact = float(np.float32(value)) if kind == "float" else float(value)
    number = Wanted(numbers=("x",), aliases={"x": ("old",)}, defaults={"x": 7})
    assert read(schema, number, {"old": value}) == {"x": [repr(exact)]}
    integer = Wanted(integers=("x",), aliases={"x": ("old",)})
    if isinstance(value, float):  # never rounded: the message is refused
        with pytest.raises(NotCovered, match="where a integer is wanted"):
            compile_plan(parsed(schema), integer)
        decoded = Decoder(integer, "plain", schema).decode(written(schema, {"old": value}))
        assert [one.error.reason for one in decoded.rejected] == ["invalid"]
    else:
        assert read(schema, integer, {"old": value}) == {"x": [int(value)]}


X: dict[str, Any] = {"numbers": ("x",), "integers": ("i",), "texts": ("t",), "tables": {"rows": Wanted()}}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"aliases": {"y": ("x",)}}, "'y' must be one of the wanted paths"),
        ({"aliases": {"x": "xx"}}, "a tuple"),
        ({"defaults": {"y": 1}}, "'y' is none of"),
        ({"defaults": {"rows": 1}}, "'rows' is none of"),
        ({"defaults": {"x": "1"}}, "'x' is a number"),
        ({"defaults": {"x": float("nan")}}, "'x' is a number"),
        ({"defaults": {"x": 10**400}}, "'x' is a number"),
        ({"defaults": {"i": 1.0}}, "'i' is a 64-bit integer"),
        ({"defaults": {"i": 1 << 63}}, "'i' is a 64-bit integer"),
        ({"defaults": {"t": 1}}, "'t' is a text"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: Mapping[str, Any], word: str) -> None:
    Wanted(**X, aliases={"x": ("y",), "rows": ("z",)}, defaults={"x": 1, "i": -1, "t": ""})
    with pytest.raises(ValueError, match=word):
        Wanted(**X, **change)


@needs_shared
def test_real_alerts_of_old_and_new_lsst_schemas_fill_the_same_columns() -> None:
    """ELAsTiCC's simulated alerts and Rubin's own, both by Rubin's names."""
    names = {"midpointMjdTai": ("midPointTai",), "psfFlux": ("psFlux",), "band": ("filterName",)}
    table = Wanted(("midpointMjdTai", "psfFlux"), texts=("band",), aliases=names)
    wanted = Wanted(
        tuple(f"diaSource.{name}" for name in table.numbers),
        texts=("diaSource.band",),
        tables={"prvDiaSources": table},
        aliases={f"diaSource.{new}": tuple(f"diaSource.{old}" for old in olds) for new, olds in names.items()},
    )
    messages = []
    for archive in ("elasticc_v0_9_5607.tar.gz", "fink_broker_rubin_raw_60.tar.gz"):
        with tarfile.open(SHARED / "data" / "lsst" / archive) as tar:
            files = (file for member in tar if (file := tar.extractfile(member)) is not None)
            messages += [file.read() for file in islice(files, 60)]
    decoder = Decoder(wanted)
    columns = decoder.decode(messages).columns
    assert (len(columns), decoder.fallbacks) == (120, 0)
    for each in (columns, columns.table("prvDiaSources")[1]):
        assert len(each) > 100
        assert not each.number_null[:, 0].any()
        assert set(each.text(each.wanted.texts[0]).at(row) for row in range(len(each))) <= set("ugrizyY")
    records: list[Any] = [next(iter(fastavro.reader(io.BytesIO(message)))) for message in messages]
    fluxes = [one["diaSource"].get("psfFlux", one["diaSource"].get("psFlux")) for one in records]
    np.testing.assert_array_equal(columns.number("diaSource.psfFlux"), np.array(fluxes, np.float64))
    assert np.isfinite(columns.number("diaSource.psfFlux")).sum() > 100


# Random schemas. Every path is first read under its own name, then wanted under another, with the first as an alias.

KINDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "numbers": {"boolean": st.booleans(), "float": st.floats(width=32), "double": st.floats()},
    "integers": {"int": st.integers(-(2**31), 2**31 - 1), "long": st.integers(-(2**63), 2**63 - 1)},
    "texts": {"string": st.text(max_size=8)},
}
DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "numbers": st.one_of(st.integers(-9, 9), st.floats(-9, 9)),
    "integers": st.integers(-9, 9),
    "texts": st.text("aé", max_size=3),
}
Paths = list[tuple[str, str, Any]]


class Case:
    """A random record schema, one value of it a call, and what is wanted: under its own names, and under others."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw: Callable[[st.SearchStrategy[Any]], Any] = data.draw
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def record(self, depth: int) -> tuple[dict[str, Any], st.SearchStrategy[Any], Paths]:
        """A schema, its values, and its paths with their kinds: a table's kind is "tables", with the rows' paths."""
        fields, values = {}, {}
        paths: Paths = []
        for _ in range(self.draw(st.integers(1, 4 - depth))):
            name = self.name()
            shape = self.draw(st.sampled_from(("leaf", "leaf", "record", "table") if depth < 2 else ("leaf",)))
            if shape == "leaf":
                kind = self.draw(st.sampled_from(sorted(KINDS)))
                schema: Any = self.draw(st.sampled_from(sorted(KINDS[kind])))
                value = KINDS[kind][schema]
                paths.append((name, kind, None))
            else:
                schema, value, inner = self.record(depth + 1)
                if shape == "table":
                    schema, value = array(schema), st.lists(value, max_size=3)
                    paths.append((name, "tables", inner))
                else:
                    paths += [(f"{name}.{path}", kind, rows) for path, kind, rows in inner]
            if self.draw(st.booleans()):
                schema, value = ["null", schema], st.one_of(st.none(), value)
            fields[name], values[name] = schema, value
        return record(self.name(), **fields), st.fixed_dictionaries(values), paths

    def wanted(self, paths: Paths) -> tuple[Wanted, Wanted, dict[str, Any]]:
        """What is wanted by its own names, by others, and the constants that the others have beside."""
        own: dict[str, Any] = {"numbers": [], "integers": [], "texts": [], "tables": {}}
        other: dict[str, Any] = {"numbers": [], "integers": [], "texts": [], "tables": {}}
        aliases: dict[str, tuple[str, ...]] = {}
        defaults: dict[str, Any] = {}
        constants: dict[str, Any] = {}
        for path, kind, rows in paths:
            absent = self.name()
            name = self.draw(st.sampled_from((path, absent, f"{path}.{absent}", f"{path.split('.')[0]}.{absent}")))
            ignored = self.draw(st.lists(st.sampled_from([one for one, _, _ in paths]), max_size=2))
            aliases[name] = (self.name(), path, *ignored) if name != path else (*ignored,)
            if kind == "tables":
                own["tables"][path], other["tables"][name], inner = self.wanted(rows)
                constants[name] = inner
                continue
            own[kind].append(path)
            other[kind].append(name)
            if self.draw(st.booleans()):
                defaults[name] = self.draw(DEFAULTS[kind])  # of no use: the writer has the field
        for kind, values in DEFAULTS.items():
            if self.draw(st.booleans()):
                absent = self.name()
                value = self.draw(values)
                other[kind].append(absent)
                defaults[absent] = value
                constants[absent] = repr(float(value)) if kind == "numbers" else value
        mine = Wanted(tuple(own["numbers"]), tuple(own["integers"]), tuple(own["texts"]), own["tables"])
        lists = tuple(other["numbers"]), tuple(other["integers"]), tuple(other["texts"])
        return mine, Wanted(*lists, other["tables"], aliases, defaults), constants


def renamed(found: dict[str, Any], own: Wanted, other: Wanted, constants: dict[str, Any], rows: int) -> dict[str, Any]:
    """What is to be expected under the other names: the same columns, and the constants."""
    expected: dict[str, Any] = {}
    for kind in KINDS:
        paths, names = getattr(own, kind), getattr(other, kind)
        expected |= {name: found[path] for path, name in zip(paths, names, strict=False)}
        expected |= {name: [constants[name]] * rows for name in names[len(paths) :]}
    for (path, mine), (name, others) in zip(own.tables.items(), other.tables.items(), strict=True):
        offsets, inner = found[path]
        expected[name] = offsets, renamed(inner, mine, others, constants[name], offsets[-1])
    return expected


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_other_names_make_no_other_columns(data: st.DataObject) -> None:
    case = Case(data)
    schema, value, paths = case.record(0)
    own, other, constants = case.wanted(paths)
    note(f"{json.dumps(schema)}\n{other}")
    records = data.draw(st.lists(value, max_size=4))
    messages = written(schema, *records)
    expected = renamed(contents(plain(schema, own, messages)), own, other, constants, len(messages))
    assert contents(plain(schema, other, messages)) == expected
    assert contents(compiled(schema, other, messages)) == expected
