"""Topics of the last nights: their names, which of them are read, and what Redis keeps of them."""

from datetime import date, datetime
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.consumer.board import key
from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.nights import FIELDS, KEPT_NIGHTS, KEYS, Nights
from skimstream.consumer.topics import Nightly, Single, topics_of

TEMPLATE = "ztf_{date:%Y%m%d}_programid1"
MIDNIGHT = 1_795_132_800  # 2026-11-20T00:00Z


@pytest.mark.parametrize(
    ("seconds", "topics"),
    [(-0.001, ("ztf_20261119_programid1", "ztf_20261118_programid1")),
     (0.0, ("ztf_20261120_programid1", "ztf_20261119_programid1"))],
    ids=["before midnight", "at midnight"],
)  # fmt: skip
def test_the_window_moves_at_midnight_utc(seconds: float, topics: tuple[str, ...]) -> None:
    assert Nightly(TEMPLATE, 2, clock=lambda: MIDNIGHT + seconds).now() == topics


@given(st.dates(date(1970, 1, 1), date(2200, 1, 1)), st.integers(1, 30))
def test_every_name_tells_its_night(night: date, nights: int) -> None:
    topics = Nightly(TEMPLATE, nights, clock=lambda: (night - date(1970, 1, 1)).days * 86_400)
    assert [topics.night_of(name) for name in topics.now()] == [
        date.fromordinal(night.toordinal() - ago) for ago in range(nights)
    ]


@pytest.mark.parametrize(
    "name",
    ["ztf_2026112_programid1", "ztf_20261320_programid1", "ztf_20261120_programid2", "ztf_20261120_programid1.dlq",
     "ztf_nightly_programid1", "ztf__programid1", "ztf_ 2026112_programid1"],
)  # fmt: skip
def test_other_topics_are_of_no_night(name: str) -> None:
    assert Nightly(TEMPLATE, 2).night_of(name) is None


@pytest.mark.parametrize(
    "template",
    ["ztf_{date}", "ztf_{date:}", "ztf_{date:%Y}", "ztf_{date:%Y%m%d}_{date:%H}", "ztf_{night:%Y%m%d}",
     "ztf {date:%Y%m%d}", "ztf_{date:%d/%m/%Y}", "{{date:%Y%m%d}}"],
)  # fmt: skip
def test_a_template_that_says_no_night_is_a_wrong_setting(template: str) -> None:
    with pytest.raises(ConfigError, match=r"topic: .*is to have one date with year, month and day"):
        load_settings(None, {"topic": template})


def test_settings_tell_topics() -> None:
    assert load_settings(None, {"stream": "behaviour"}).topics == Single("behaviour")
    nightly = load_settings(None, {"topic": TEMPLATE, "kafka": {"nights": 3}}).topics
    assert isinstance(nightly, Nightly)
    assert len(nightly.now()) == nightly.nights == 3
    assert topics_of("alerts", 3).now() == ("alerts",)


@pytest.mark.parametrize("verb", [["train", "ztf", "-o", "m"], ["init", "mine"]])
def test_who_reads_one_topic_says_to_name_a_night(verb: list[str]) -> None:
    done = CliRunner().invoke(app, [*verb, "--topic", TEMPLATE, "--kafka", "127.0.0.1:1"])
    assert isinstance(done.exception, ConfigError)
    assert "name one night's, such as ztf_2" in str(done.exception)


def test_redis_forgets_nights_that_are_long_over_and_no_others(store: redis.Redis) -> None:
    def name(day: int) -> str:
        return f"ztf_{datetime.fromtimestamp(MIDNIGHT - day * 86_400).astimezone():%Y%m%d}_programid1/3"

    kept = [name(0), name(1), name(KEPT_NIGHTS), "alerts/3", "ztf_19991231_programid2/3"]
    gone = [name(KEPT_NIGHTS + 1), name(400)]
    for one in kept + gone:
        for field in FIELDS:
            store.hset(key("ztf", field), one, "1")
        for kind in KEYS:
            store.set(key("ztf", kind, one), "1")
    Nights(store, "ztf", Single("alerts")).begun(["alerts"])
    assert store.hlen(key("ztf", "offsets")) == len(kept) + len(gone)
    topics = Nightly(TEMPLATE, 2, clock=lambda: MIDNIGHT)
    Nights(store, "ztf", topics).begun(topics.now())

    def known(field: str) -> set[str]:
        names: Any = store.hkeys(key("ztf", field))
        return {one.decode() for one in names}

    for field in set(FIELDS) - {"thresholds"}:
        assert known(field) == set(kept)
    # Bars of a night that isn't read any more are no bars in force.
    assert known("thresholds") == set(kept) - {name(KEPT_NIGHTS)}
    for kind in KEYS:
        assert {one for one in kept + gone if store.exists(key("ztf", kind, one))} == set(kept)


def test_a_redis_that_does_not_answer_is_asked_the_next_night() -> None:
    nobody = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    Nights(nobody, "ztf", Nightly(TEMPLATE, 2)).begun([])
