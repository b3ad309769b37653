"""The file of the rules: taken up when it changes, if it is right; and what comes with the first rule."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry

from skimstream.consumer.config import load_settings
from skimstream.consumer.watch_settings import watch_of

ONE = '[[monitor]]\nname = "one"\nmin_score = 0.9\n'


def written(file: Path, text: str, at: int) -> None:
    file.write_text(text)
    os.utime(file, ns=(at, at))


def test_rules_come_and_go_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    file, registry, made = tmp_path / "skim.toml", CollectorRegistry(), list[str]()
    written(file, 'stream = "behaviour"\n', 1)
    watch = watch_of(load_settings(file, {}), registry, made.append)
    assert (watch.refresh(), made) == (False, [])
    written(file, ONE, 2)
    assert watch.refresh()
    assert [rule.name for rule in watch.rulebook.book.rules] == ["one"]
    assert not watch.refresh()
    written(file, ONE.replace("0.9", "9"), 3)
    assert not watch.refresh()
    file.unlink()
    assert not watch.refresh()
    assert [rule.name for rule in watch.rulebook.book.rules] == ["one"]
    written(file, ONE + '[[monitor]]\nstream = "ztf"\nmin_score = 0.5\n', 4)
    assert not watch.refresh()  # another stream's rule is none of ours
    written(file, ONE.replace("one", "two"), 5)
    assert watch.refresh()
    assert made == ["skim.behaviour.anomalies"]  # with the first rule, and once
    outcomes = {
        name: registry.get_sample_value("skim_monitor_reloads_total", {"outcome": name})
        for name in ("applied", "refused")
    }
    assert outcomes == {"applied": 2, "refused": 2}
