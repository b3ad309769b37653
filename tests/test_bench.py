"""What `make bench` makes of its figures: the gate, with figures made up, and the page, kept as a run wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

import gate
from gate import Fall, falls, judge, ratios_of
from whole import budget
from whole.page import between, rewrite, tables

ROOT = Path(__file__).resolve().parents[1]
PAGE, REPORT = ROOT / "docs" / "performance.md", ROOT / "docs" / "benchmarks" / "latest.json"
STORED = {"tolerance": 0.3, "full": {"behaviour.naive": 60.0, "behaviour.stage.decode": 8.0}}


def report(naive: float, decode: float = 8.0, quick: bool = False) -> dict[str, Any]:
    return {
        "quick": quick,
        "workloads": {"behaviour": {"ratios": {"naive": naive}, "stage_ratios": {"decode": decode}}},
    }


@pytest.mark.parametrize(("naive", "fell"), [(60.0, []), (42.1, []), (41.9, ["behaviour.naive"]), (90.0, [])])
def test_a_ratio_may_be_less_by_the_tolerance(naive: float, fell: list[str]) -> None:
    assert [one.name for one in judge(report(naive), STORED)] == fell


def test_the_deepest_fall_is_told_first_and_what_was_not_measured_is_one() -> None:
    found = falls({"a": 5.0, "b": 1.0}, {"a": 10.0, "b": 10.0, "gone": 3.0}, 0.3)
    assert found == [Fall("gone", 3.0, None), Fall("b", 10.0, 1.0), Fall("a", 10.0, 5.0)]
    assert str(found[0]) == "gone: not measured, was 3.00"


def test_only_the_parts_that_are_asked_for(tmp_path: Path) -> None:
    assert [one.name for one in judge(report(1.0, decode=1.0), STORED, ".stage.")] == ["behaviour.stage.decode"]


@pytest.mark.parametrize(
    ("naive", "quick", "advice", "code"),
    [
        (60.0, False, [], 0),
        (1.0, False, [], 1),
        (1.0, False, ["--advisory"], 0),
        (60.0, True, [], 1),  # nothing to compare with is no success
        (60.0, True, ["--advisory"], 0),
    ],
)
def test_the_gate_is_hard_and_advice_is_not(
    naive: float,
    quick: bool,
    advice: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "now.json").write_text(json.dumps(report(naive, quick=quick)))
    (tmp_path / "stored.json").write_text(json.dumps(STORED))
    monkeypatch.setattr(
        "sys.argv", ["gate", str(tmp_path / "now.json"), "--baseline", str(tmp_path / "stored.json"), *advice]
    )
    assert gate.main() == code
    assert ("behaviour.naive: 1.00, was 60.00 (-98 %)" in capsys.readouterr().err) == (naive == 1.0)


def test_what_is_stored_is_what_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, stored = tmp_path / "now.json", tmp_path / "stored.json"
    now.write_text(json.dumps(report(50.0)))
    monkeypatch.setattr("sys.argv", ["gate", str(now), "--baseline", str(stored), "--store"])
    assert gate.main() == 0
    assert json.loads(stored.read_text()) == {"tolerance": gate.TOLERANCE, "full": ratios_of(report(50.0))}


def test_the_page_has_the_tables_of_the_last_run() -> None:
    assert between(PAGE) == tables(json.loads(REPORT.read_text()))


def test_delays_have_a_table_of_their_own() -> None:
    last = json.loads(REPORT.read_text())
    late = {"p50_ms": 40.0, "p99_ms": 200.5, "p999_ms": 300.0, "events": 1_000, "batches": 10, "behind_s": 0.0}
    last["workloads"]["behaviour"]["latency"] = {"10000": late, "50000": {"problem": "the worker didn't start"}}
    found = tables(last)
    assert "| 10,000 | 40.0 | 200.5 | 300.0 | 100 |" in found
    assert "| 50,000 | the worker didn't start | | | |" in found


def test_goals_are_met_or_not_or_not_measured() -> None:
    last: dict[str, Any] = {"workloads": {"behaviour": {"ratios": {"naive": 40.0, "quix": 9.9}}}}
    last["workloads"]["ztf"] = {"contenders": {"ours": {"cpu_us": 499.0}}}
    found = budget.lines(last)
    assert "| whole path, events, against (a) | ≥ 40 x | 40 | met |" in found
    assert "| whole path, events, against (c) | ≥ 10 x | 9.9 | **not met** |" in found
    assert "| a visit of 10,000 ZTF alerts | ≤ 5 s of CPU | 4.99 | met |" in found
    assert "| whole path, ZTF alerts, against (a) | ≥ 25 x |  | not measured |" in found
    assert len(found) == 5 + len(budget.GOALS)
    assert budget.lines({"workloads": {}}) == []


def test_a_quick_run_says_nothing_of_goals() -> None:
    last = {**json.loads(REPORT.read_text()), "start": {"warm_s": 1.0, "first_s": 31.0}}
    assert "### Goals" not in tables({**last, "quick": True})
    assert "| the first start ever, which compiles | ≤ 30 s | 31 | **not met** |" in tables({**last, "quick": False})


def test_what_a_batch_costs_is_told() -> None:
    last = json.loads(REPORT.read_text())
    last["workloads"]["behaviour"]["costs"] = {"batch_us": 1234.5, "event_us": 16.27}
    assert "a batch takes 1,234 µs and each event in it 16.3 µs" in tables(last)


def test_only_what_is_between_the_marks_is_rewritten(tmp_path: Path) -> None:
    page, last = tmp_path / "page.md", json.loads(REPORT.read_text())
    page.write_text(PAGE.read_text())
    last["workloads"]["behaviour"]["stages_us"]["decode"] = 123.456
    rewrite(page, last)
    assert "| decode | 123 |" in page.read_text()
    old, new = PAGE.read_text().splitlines(), page.read_text().splitlines()
    assert [line for line in old if not line.startswith("|")] == [line for line in new if not line.startswith("|")]
    rewrite(page, json.loads(REPORT.read_text()))
    assert page.read_text() == PAGE.read_text()
