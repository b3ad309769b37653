"""The command as people run it: a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from skimstream.consumer.board import Board, Row
from skimstream.consumer.checkpoint import Checkpoints

SKIM = [sys.executable, "-m", "skimstream.cli.main"]


def skim(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*SKIM, *arguments], capture_output=True, text=True, timeout=240, env={**os.environ, **environment}
    )
    assert done.returncode == code, done.stderr
    return done


def last_line(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def test_help_is_instant_for_it_imports_nothing_heavy() -> None:
    heavy = ("numpy", "numba", "redis", "confluent_kafka")
    code = f"import sys, skimstream.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


VERBS = ["demo", "run", "replay", "simulate", "train", "evaluate", "top", "explain", "warmup"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(verb: str) -> None:
    assert verb in skim("--help").stdout
    assert len(skim(verb, "--help").stdout.splitlines()) > 10


def test_wrong_settings_name_key_and_origin_and_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('[kafka]\nbootstap = "x:1"\n[batch]\nsize = 0\n')
    said = skim("run", "--config", str(file), code=2).stderr
    assert "kafka.bootstap" in said
    assert "batch.size" in said
    assert str(file) in said
    assert "metrics.port" in skim("run", code=2, SKIM_METRICS__PORT="-1").stderr


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('[redis]\nurl = "redis://127.0.0.1:1/0"\ntimeout = 1\n')
    for arguments, port in (([], "2"), (["--redis", "redis://127.0.0.1:3/0"], "3")):
        said = skim("top", "--config", str(file), *arguments, code=1, SKIM_REDIS__URL="redis://127.0.0.1:2/0").stderr
        assert f"127.0.0.1:{port}" in said


def test_what_is_missing_says_what_to_do(tmp_path: Path) -> None:
    assert "choose one of ztf" in skim("train", "nothing", str(tmp_path), "-o", str(tmp_path), code=1).stderr
    assert "skim train" in skim("run", "ztf", "--model", str(tmp_path), code=1).stderr
    assert "redis.url" in skim("top", "--redis", "redis://127.0.0.1:1/0", code=1).stderr


def test_simulate_and_train_make_a_model_from_files(tmp_path: Path) -> None:
    events, truth, out = tmp_path / "b.avro", tmp_path / "b.truth", tmp_path / "model"
    made = last_line(
        skim(
            "simulate", "behaviour", "-n", "2000", "--anomalies", "5%", "--out", str(events), "--truth", str(truth)
        ).stdout
    )
    assert made["events"] == 2_000
    assert made["injected"] == len(truth.read_text().splitlines()) > 20
    skim("train", "behaviour", str(events), "--labels", str(truth), "--trees", "10", "-o", str(out))
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["stream"] == "behaviour"
    assert manifest["training"]["rows"] == 2_000
    assert manifest["training"]["anomalies"] == made["injected"]


def test_plain_sessions_can_be_had(tmp_path: Path) -> None:
    file = ("--out", str(tmp_path / "p.avro"), "--truth", str(tmp_path / "p.truth"))
    made = last_line(skim("simulate", "behaviour", "--kind", "plain", "-n", "200", "--anomalies", "5%", *file).stdout)
    assert made == {"events": 200, "injected": 10, "undelivered": 0}
    assert "--kind" in skim("simulate", "ztf", "--kind", "plain", *file, code=2).stderr
    assert "--kind" in skim("simulate", "behaviour", "--kind", "odd", *file, code=2).stderr


def test_top_shows_the_board(store: redis.Redis, store_url: str) -> None:
    board = Board(store, "ztf")
    fence = Checkpoints(store, "ztf").begin("t/0", 0).fence
    reason = {"feature": "g_amplitude", "value": 2.5, "usual": [0.1, 0.2], "deviation": 9.0}
    for i in range(3):
        details = json.dumps({"event": str(i), "reasons": [reason]})
        board.commit("t/0", fence._replace(offset=i), i + 1, [Row(20_778, f"ZTF{i}\x1b[31m", i / 10, str(i), details)])
    done = skim("top", "ztf", "--night", "2026-11-21", "-n", "2", "--json", "--redis", store_url)
    assert [json.loads(line)["object"] for line in done.stdout.splitlines()] == ["ZTF2\x1b[31m", "ZTF1\x1b[31m"]
    table = skim("top", "ztf", "--redis", store_url, COLUMNS="120").stdout
    assert "ZTF2" in table
    assert "g_amplitude 2.5 (usually 0.1 to 0.2)" in table
    assert "\x1b[31m" not in table
    assert "nothing on the board" in skim("top", "behaviour", "--redis", store_url).stderr


def test_the_demo_finds_injected_anomalies_and_accounts_for_every_message() -> None:
    done = skim("demo", "--for", "8s")
    assert len(re.findall(r"http://127\.0\.0\.1:\d+/metrics", done.stderr)) == 2
    figures = last_line(done.stdout)
    assert figures["events"] > 1_000
    assert figures["found"] > 0
    for one in figures["streams"].values():
        assert one["consumed"] == one["events"] + one["broken_sent"]
        assert one["consumed"] == one["scored"] + sum(one["unscored"].values()) + sum(one["dead"].values())
        assert sum(one["dead"].values()) == one["broken_sent"]
    assert figures["dead_letters"] == sum(one["broken_sent"] for one in figures["streams"].values())


def demo_under_way() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*SKIM, "demo", "--for", "100s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "ztf:" in process.stdout.readline()  # the first line about the streams
    return process


def children_of(pid: int) -> set[str]:
    """Command lines of all descendants."""
    found = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in found[1:]]
    family: set[str] = {str(pid)}
    names: set[str] = set()
    while True:
        more = {row[0] for row in rows if row[1] in family} - family
        if not more:
            return names
        family |= more
        names |= {row[0] for row in rows if row[0] in more}


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: set[str]) -> bool:
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_ctrl_c_ends_the_demo_with_its_summary_and_leaves_nothing_behind() -> None:
    process = demo_under_way()
    children = children_of(process.pid)
    assert len(children) >= 4  # two workers, the page and the store
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert last_line(out)["events"] > 0
    assert gone(children)


@pytest.mark.nightly
def test_ctrl_c_twice_ends_it_at_once_and_leaves_nothing_behind() -> None:
    process = demo_under_way()
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert gone(children)
