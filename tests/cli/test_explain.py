"""`skim explain` on a board that a partition wrote."""

import json
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from skimstream.cli.explain import NotOnBoard
from skimstream.cli.main import app
from skimstream.cli.sheet import sheet
from skimstream.consumer.board import Board, Row, read_row
from skimstream.consumer.checkpoint import Checkpoints

NIGHTS = {20_777: "2026-11-20", 20_778: "2026-11-21"}
ESCAPE = "\x1b[31m"


def details(event: str, night: str, **more: Any) -> str:
    reason = {
        "feature": "g_amplitude",
        "value": 2.5,
        "unit": "mag",
        "percentile": 0.998,
        "usual": [0.1, 0.2],
        "deviation": 9.0,
        "contributions": {"frozen": 0.61, "online": None},
        "words": "g_amplitude 2.5 mag: above 99.8 % of objects",
    }
    row = {
        "event": event,
        "night": night,
        "score": 0.9,
        "combined": 4.25,
        "raw": {"frozen": 0.71, "online": None},
        "z": {"frozen": 4.25, "online": None},
        "reasons": [reason],
        "explained": {
            "feature": ["g_amplitude", "g_mean"],
            "unit": ["mag", "mag"],
            "percentile": [0.998, 0.5],
            "rows": [5_000, 5_000],
            "deviation": [9.0, -0.4],
            "contributions": {"frozen": [0.61, -0.39], "online": [None, None]},
        },
        "features": {"g_mean": 18.25, "g_amplitude": 2.5},
        "model": "0123456789ab",
        "candidate": {"ra": 1.5, "band": f"g{ESCAPE}[bold]"},
    }
    return json.dumps(row | more)


@pytest.fixture
def board(store: redis.Redis) -> redis.Redis:
    """Three objects a night; the last two nights of `ztf`."""
    writer, fence = Board(store, "ztf"), Checkpoints(store, "ztf").begin("t/0", 0).fence
    for at, (night, name) in enumerate(NIGHTS.items()):
        rows = [
            Row(night, f"ZTF{i}{ESCAPE}", i / 10, f"{at}{i}", details(f"{at}{i}", name, score=i / 10)) for i in range(3)
        ]
        writer.commit("t/0", fence._replace(offset=at), at + 1, rows)
    return store


def explain(url: str, *arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "130"}).invoke(
        app, ["explain", *arguments, "--redis", url], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_tells_score_parts_and_features_the_weightiest_first(board: redis.Redis, store_url: str) -> None:
    said = explain(store_url, "ztf")
    assert "rank 1 of ztf on the night of 2026-11-21" in said
    assert "score 0.200000, combined value 4.250; event 12, model 0123456789ab" in said
    lines = [line.strip() for line in said.splitlines()]
    (part,) = [line.split() for line in lines if line.startswith("frozen")]
    assert part == ["frozen", "0.7100", "+4.25"]
    assert [line.split() for line in lines if line.startswith("online")] == [["online", "silent", "silent"]]
    first, second = (line for line in lines if line.startswith("g_"))
    assert " ".join(first.split()) == "g_amplitude 2.5 mag above 99.8 % +9.0 +61 % silent"
    assert " ".join(second.split()) == "g_mean 18.25 mag usual -0.4 -39 % silent"


def test_text_of_streams_drives_no_terminal(board: redis.Redis, store_url: str) -> None:
    said = explain(store_url, "ztf")
    assert "\x1b" not in said
    assert "band g�[31m[bold]" in said  # markup isn't followed either
    with pytest.raises(NotOnBoard) as told:
        explain(store_url, "ztf", f"nobody{ESCAPE}")
    assert "\x1b" not in str(told.value)


def test_an_object_an_event_and_a_night_are_found(board: redis.Redis, store_url: str) -> None:
    def found(*arguments: str) -> tuple[str, str, int]:
        row = json.loads(explain(store_url, "ztf", *arguments, "--json"))
        return row["event"], row["night"], row["rank"]

    assert found(f"ZTF1{ESCAPE}") == ("11", "2026-11-21", 2)
    assert found("00") == ("00", "2026-11-20", 3)
    assert found(f"ZTF2{ESCAPE}", "--night", "2026-11-20") == ("02", "2026-11-20", 1)
    assert found("--night", "2026-11-20") == ("02", "2026-11-20", 1)
    assert read_row(board, "ztf", "2026-11-20", "12") is None


def test_what_is_not_there_is_told_with_what_is(board: redis.Redis, store_url: str) -> None:
    with pytest.raises(
        NotOnBoard, match="ZTF9 is not on the board of ztf; nights on the board: 2026-11-21, 2026-11-20;"
    ):
        explain(store_url, "ztf", "ZTF9")
    with pytest.raises(NotOnBoard, match=r"ztf for 2026-11-19; nights on the board: 2026-11-20, 2026-11-21; first of"):
        explain(store_url, "ztf", "12", "--night", "2026-11-19")
    with pytest.raises(NotOnBoard, match=r"for 2026-11-20; .*; first of 2026-11-20: ZTF2"):
        explain(store_url, "ztf", "12", "--night", "2026-11-20")
    with pytest.raises(NotOnBoard, match="nothing is on the board of behaviour; start a worker"):
        explain(store_url, "behaviour")


def test_rows_of_before_percentiles_are_still_told(store: redis.Redis, store_url: str) -> None:
    fence = Checkpoints(store, "ztf").begin("t/0", 0).fence
    old = {"feature": "g_amplitude", "value": 2.5, "usual": [0.1, 0.2], "deviation": 9.0}
    row = json.loads(details("1", "2026-11-21")) | {"reasons": [old]}
    del row["explained"]
    Board(store, "ztf").commit("t/0", fence, 1, [Row(20_778, "Z", 0.5, "1", json.dumps(row))])
    said = explain(store_url, "ztf")
    assert "g_amplitude 2.5 (usually 0.1 to 0.2)" in said
    assert "18.25" in said
    assert len(list(sheet("ztf", {"object": "Z", "rank": 1, "score": 0.5}))) > 2  # nothing else is known


def test_broken_rules_are_named_first(store: redis.Redis, store_url: str) -> None:
    fence = Checkpoints(store, "observation").begin("t/0", 0).fence
    row = details(
        "1", "2026-11-21", features={"g_mean": 18.0, "g_amplitude": 2.5, "rule_times": 1.0, "rule_release": 0.0}
    )
    Board(store, "observation").commit("t/0", fence, 1, [Row(20_778, "jw1", 0.999999, "1", row)])
    said = explain(store_url, "observation", "jw1")
    assert said.index("breaks a rule: it ends before it begins (rule_times)") < said.index("frozen")
    assert "released" not in said
