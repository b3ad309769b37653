import re
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.consumer.streams.timestamp import parse_times
from skimstream.schemas.columns import Text, Wanted
from skimstream.schemas.gather import gather


def texts(*values: str | None) -> Text:
    return gather([{"t": value} for value in values], Wanted(texts=("t",))).text("t")


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)), st.sampled_from("T "))
def test_equals_the_standard_library(when: datetime, separator: str) -> None:
    when = when.replace(tzinfo=UTC)
    expected = (when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    text = when.replace(tzinfo=None).isoformat(separator)
    for written in (text, text + "Z"):
        assert parse_times(texts(written))[0] == pytest.approx(expected, abs=1e-4)
    assert parse_times(texts(text[:19]))[0] == pytest.approx(expected - when.microsecond / 1e6, abs=1e-6)
    assert parse_times(texts(text[:10]))[0] == expected // 86_400 * 86_400


def test_shorter_times() -> None:
    assert parse_times(texts("1970-01-02 03", "1970-01-01T00:05Z")).tolist() == [97_200.0, 300.0]


NO_TIMES = """
Z|2026|2026-13-01|2026-00-01|2026-02-30|2026-04-31|0000-01-01|2026-11-21T|2026-11-21X10|2026-11-21T24:00
2026-11-21T10:60|2026-11-21T10:00:60|2026-11-21T10:00:00.|2026-11-21T10:00:00+01:00|2026-11-21T1:00
2026-11-21T10.5|2026-11-21T10:00:00.5x|21-11-2026|2026/11/21|٢٠٢٦-11-21|-026-11-21
"""


@pytest.mark.parametrize("text", [None, "", *re.split(r"[|\n]", NO_TIMES.strip())])
def test_what_is_no_time_is_nan(text: str | None) -> None:
    assert np.isnan(parse_times(texts("1970-01-01", text, "1970-01-01"))).tolist() == [False, True, False]


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_a_time_or_nan(values: list[str]) -> None:
    times = parse_times(texts(*values))
    assert len(times) == len(values)
    assert not np.isinf(times).any()
