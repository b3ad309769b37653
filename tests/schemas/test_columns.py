import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.schemas.columns import Text, Wanted
from skimstream.schemas.errors import DecodeError
from skimstream.schemas.gather import gather

WANTED = Wanted(
    numbers=("a", "inner.b"),
    integers=("id",),
    texts=("name", "inner.kind"),
    tables={"rows": Wanted(numbers=("x",), texts=("t",))},
)
RECORDS: list[dict[str, Any]] = [
    {
        "a": 1,
        "inner": {"b": 2.5, "kind": "k"},
        "id": (1 << 62) + 1,
        "name": "ünï",
        "rows": [{"x": 1.0, "t": "p"}, {"x": None}],
    },
    {"a": None, "inner": None, "id": None, "name": None, "rows": None},
    {"a": float("nan"), "inner": {"b": -0.0, "kind": ""}, "id": -7, "name": "z", "rows": [{"x": 3.0, "t": "q"}]},
]


def test_null_nan_and_zero_are_told_apart() -> None:
    columns = gather(RECORDS, WANTED)
    assert np.isnan(columns.number("a")).tolist() == [False, True, True]
    assert columns.null("a").tolist() == [False, True, False]
    assert columns.null("inner.b").tolist() == [False, True, False]
    assert columns.null("id").tolist() == [False, True, False]
    assert columns.null("name").tolist() == [False, True, False]
    assert columns.text("inner.kind").at(2) == ""


def test_64_bit_ids_never_pass_through_float() -> None:
    assert gather(RECORDS, WANTED).integer("id").tolist() == [(1 << 62) + 1, 0, -7]


def test_children_keep_their_parents() -> None:
    offsets, rows = gather(RECORDS, WANTED).table("rows")
    assert offsets.tolist() == [0, 2, 2, 3]
    assert rows.number("x").tolist()[::2] == [1.0, 3.0]
    assert [rows.text("t").at(i) for i in range(3)] == ["p", None, "q"]


@given(st.lists(st.integers(0, 2), max_size=8))
def test_take_is_gathering_those_records(rows: list[int]) -> None:
    taken = gather(RECORDS, WANTED).take(np.array(rows, np.int64))
    direct = gather([RECORDS[row] for row in rows], WANTED)
    np.testing.assert_array_equal(taken.numbers, direct.numbers)
    np.testing.assert_array_equal(taken.integers, direct.integers)
    for path in WANTED.texts:
        assert [taken.text(path).at(i) for i in range(len(rows))] == [direct.text(path).at(i) for i in range(len(rows))]
    np.testing.assert_array_equal(taken.table("rows")[0], direct.table("rows")[0])
    np.testing.assert_array_equal(taken.table("rows")[1].numbers, direct.table("rows")[1].numbers)


@pytest.mark.parametrize(
    "record", [{"a": "text"}, {"id": 1.5}, {"id": 1 << 64}, {"name": [1]}, {"rows": 3}, {"rows": [3]}]
)
def test_a_value_of_the_wrong_kind_is_invalid(record: dict[str, object]) -> None:
    with pytest.raises(DecodeError) as caught:
        gather([record], WANTED)
    assert caught.value.reason == "invalid"


def texts(*values: str | None) -> Text:
    return gather([{"t": value} for value in values], Wanted(texts=("t",))).text("t")


def fnv(value: bytes) -> int:
    """FNV-1a and MurmurHash3's finaliser, literally."""
    mask = (1 << 64) - 1
    h = 0xCBF29CE484222325
    for byte in value:
        h = ((h ^ byte) * 0x100000001B3) & mask
    h = ((h ^ (h >> 33)) * 0xFF51AFD7ED558CCD) & mask
    h = ((h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53) & mask
    return (h ^ (h >> 33)) or 1


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=10))
def test_hashes_are_the_documented_ones_and_null_is_0(values: list[str | None]) -> None:
    hashes = texts(*values).hashes()
    assert hashes.tolist() == [0 if value is None else fnv(value.encode()) for value in values]


def test_equals_compares_whole_texts() -> None:
    assert texts("t", "f", None, "true", "1", "").equals("t", "1").tolist() == [True, False, False, False, True, False]


def is_malformed(text: str | None, longest: int, ascii_only: bool) -> bool:
    """`Text.malformed`, literally."""
    if text is None:
        return False
    allowed = (lambda c: "!" <= c <= "~") if ascii_only else (lambda c: unicodedata.category(c) != "Cc")
    return not 1 <= len(text.encode()) <= longest or not all(map(allowed, text))


ODD = "aZ~! \t\n\x00\x1f\x7f\x80\x9f\xa0\xad\xc2é\u2028€\U0010ffff"


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.one_of(st.none(), st.text(max_size=4), st.text(ODD, max_size=4))), st.integers(0, 8), st.booleans())
def test_malformed_ids_are_told(values: list[str | None], longest: int, ascii_only: bool) -> None:
    found = texts(*values).malformed(longest, ascii_only)
    assert found.tolist() == [is_malformed(value, longest, ascii_only) for value in values]


@pytest.mark.parametrize("byte", range(256))
def test_every_character_below_256_alone_and_after_another(byte: int) -> None:
    for text in (chr(byte), f"a{chr(byte)}", f"\xc2{chr(byte)}b", f"é{chr(byte)}"):
        for ascii_only in (False, True):
            assert texts(text).malformed(9, ascii_only).tolist() == [is_malformed(text, 9, ascii_only)]
