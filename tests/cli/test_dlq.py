"""`skim dlq` on the embedded broker: what is listed, shown and sent again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer
from typer.testing import CliRunner, Result

from skimstream.cli import dlq as verbs
from skimstream.cli.main import app
from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.letter import Letter
from skimstream.consumer.outgoing import DeliverySlow, Outgoing
from skimstream.consumer.stored import stored
from skimstream.schemas.errors import DecodeError, Reason, SkimError

TIME = 1_790_000_000_123
BYTES = b"\0rub\xffbish" * 60
PARTITION = 1  # not the one that the client would choose by the key
HEADERS = [("h", b"\0\xff"), ("h", b"second"), ("reason", b"its own")]
Skim = Callable[..., Result]


def options(broker: str) -> dict[str, Any]:
    return {"bootstrap.servers": broker, "log_level": 0}


def a_letter(offset: int, reason: Reason = "decode", detail: str = "why", value: bytes | None = BYTES) -> Letter:
    batch = Batch(
        Address("t", PARTITION), offset, offset + 1, [offset], [value], [TIME + offset], [b"\xffkey"], [HEADERS]
    )
    return Letter.of(batch, 0, DecodeError(reason, detail))


def bury(broker: str, *dead: Letter) -> None:
    """See them all delivered; on a busy machine that takes more than a second."""
    letters = Outgoing(options(broker))
    for letter in dead:
        letters.send(letter)
    for _ in range(30):
        try:
            return letters.confirm()
        except DeliverySlow:
            continue
    pytest.fail("the dead letters were not delivered")


def sent_to(broker: str, topic: str = "t") -> list[Message]:
    Producer(options(broker)).list_topics(topic, timeout=10)  # the mock makes the topics that a producer asks for
    return list(stored(options(broker), topic))


@pytest.fixture
def skim(broker: str) -> Skim:
    """`skim dlq …` on a broker with five letters, one of them delivered twice, and a stranger's message."""
    Producer(options(broker)).list_topics("t", timeout=10)
    letters = [a_letter(0), a_letter(1), a_letter(2, "invalid"), a_letter(3, "crash"), a_letter(1)]
    bury(broker, *letters, a_letter(4, "too_large", "a\x1b[31m [red]b", None))
    stranger = Producer(options(broker))
    stranger.produce("t.dlq", b"hello")
    stranger.flush(10)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["dlq", *arguments, "--kafka", broker], env={"COLUMNS": "120"})

    return run


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_shows_each_letter_once_and_counts_by_reason(skim: Skim) -> None:
    listed = skim("list", "t", "--json")
    assert [(row["partition"], row["offset"], row["reason"]) for row in rows(listed)] == [
        (1, 0, "decode"),
        (1, 1, "decode"),
        (1, 2, "invalid"),
        (1, 3, "crash"),
        (1, 4, "too_large"),
    ]
    assert rows(listed)[0]["bytes"] == len(BYTES)
    assert "dead letters: 5; delivered twice: 1; something else: 1" in listed.stderr
    assert "by reason: decode 2, " in listed.stderr
    assert rows(skim("list", "t.dlq", "--json", "--reason", "decode", "-n", "1"))[0]["offset"] == 1


def test_the_table_shows_hostile_text_as_text(skim: Skim) -> None:
    table = skim("list", "t").stdout
    assert "1/4" in table
    assert "2026-09-21T14:13:20Z" in table
    assert "[red]b" in table
    assert "\x1b[31m" not in table


def test_show_gives_the_very_bytes(skim: Skim, tmp_path: Path) -> None:
    out = tmp_path / "letter"
    shown = skim("show", "t", "1", "2", "--out", str(out))
    assert shown.exit_code == 0
    assert out.read_bytes() == BYTES
    assert r"b'\xffkey'" in shown.stdout
    assert "header reason b'its own'" in shown.stdout
    assert shown.stdout.count("header h ") == 2
    assert "00000000  00 72 75 62 ff 62 69 73 68 00" in shown.stdout
    assert f"{len(BYTES) - verbs.DUMPED} bytes more" in shown.stdout
    assert isinstance(skim("show", "t", "1", "9").exception, SkimError)
    assert isinstance(skim("show", "t", "1", "4", "--out", str(tmp_path / "no")).exception, SkimError)
    assert "tombstone" in skim("show", "t", "1", "4").stdout


def test_replay_restores_bytes_key_headers_and_partition_once(skim: Skim, broker: str) -> None:
    counts = {"sent": 4, "failed": 0, "sent_before": 0, "kept_back": 1, "without_bytes": 0}
    assert rows(skim("replay", "t")) == [counts]
    messages = sent_to(broker)
    assert [(one.partition(), one.key(), one.value()) for one in messages] == [
        *[(1, b"\xffkey", BYTES)] * 3,
        (1, b"\xffkey", None),
    ]
    assert [one.headers() for one in messages] == [
        [*HEADERS, ("skimstream.replayed", b"t/1/%d" % offset)] for offset in (0, 1, 2, 4)
    ]
    assert rows(skim("replay", "t")) == [{**counts, "sent": 0, "sent_before": 4}]
    assert len(sent_to(broker)) == 4
    assert [row["replayed"] for row in rows(skim("list", "t", "--json"))] == [["t"], ["t"], ["t"], [], ["t"]]
    assert rows(skim("replay", "t", "--again", "--reason", "invalid")) == [{**counts, "sent": 1, "kept_back": 0}]
    assert len(sent_to(broker)) == 5


def test_replay_chooses(skim: Skim, broker: str) -> None:
    (counts,) = rows(skim("replay", "t", "--reason", "crash"))
    assert (counts["sent"], counts["kept_back"]) == (1, 0)
    (counts,) = rows(skim("replay", "t", "--offset", "1/1", "--offset", "1/3"))
    assert (counts["sent"], counts["kept_back"]) == (1, 1)
    (counts,) = rows(skim("replay", "t", "--to", "elsewhere"))
    assert (counts["sent"], counts["sent_before"]) == (4, 0)
    replayed = [dict(one.headers() or [])["skimstream.replayed"] for one in sent_to(broker)]
    assert replayed == [b"t/1/3", b"t/1/1"]
    assert len(sent_to(broker, "elsewhere")) == 4
    assert isinstance(skim("replay", "t", "--offset", "1/9").exception, SkimError)
    assert skim("replay", "t", "--offset", "9").exit_code == 2
    assert skim("replay", "t", "--reason", "bad").exit_code == 2


def test_a_replayed_message_that_is_dead_again_can_be_sent_again(skim: Skim, broker: str) -> None:
    skim("replay", "t", "--offset", "1/0")
    (message,) = sent_to(broker)
    headers: Any = message.headers()
    batch = Batch(Address("t", PARTITION), 0, 9, [8], [message.value()], [TIME], [message.key()], [headers])
    bury(broker, Letter.of(batch, 0, DecodeError("decode", "still")))
    assert rows(skim("replay", "t", "--offset", "1/8"))[0]["sent"] == 1
    assert sent_to(broker)[1].headers() == [*HEADERS, ("skimstream.replayed", b"t/1/8")]


def test_letters_of_several_nights_know_their_own_topic(broker: str, tmp_path: Path) -> None:
    nights = ("alerts_20261119", "alerts_20261120")
    batches = [Batch(Address(topic, PARTITION), 7, 8, [7], [topic.encode()], [TIME]) for topic in nights]
    error = DecodeError("decode", "why")
    bury(broker, *(Letter.of(batch, 0, error, "alerts_nightly") for batch in batches))

    def skim(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["dlq", *arguments, "--kafka", broker], env={"COLUMNS": "160"})

    table = skim("list", "alerts_nightly").stdout
    assert all(f"{topic}/{PARTITION}/7" in table for topic in nights)
    out = tmp_path / "letter"
    for topic in nights:
        shown = skim("show", "alerts_nightly", str(PARTITION), "7", "--from", topic, "--out", str(out))
        assert f"came from    {topic}, partition {PARTITION}" in shown.stdout
        assert out.read_bytes() == topic.encode()
        sent_to(broker, topic)
    one = skim("replay", "alerts_nightly", "--offset", f"{nights[1]}/{PARTITION}/7")
    assert rows(one)[-1]["sent"] == 1
    rest = skim("replay", "alerts_nightly")
    assert (rows(rest)[-1]["sent"], rows(rest)[-1]["sent_before"]) == (1, 1)
    for topic in nights:
        assert [(one.value(), one.partition()) for one in sent_to(broker, topic)] == [(topic.encode(), PARTITION)]
    assert isinstance(skim("replay", "alerts_nightly", "--offset", f"other/{PARTITION}/7").exception, SkimError)


def test_replay_asks_on_a_terminal(skim: Skim, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    class System:
        stdin = Terminal()

    monkeypatch.setattr(verbs, "sys", System())
    assert skim("replay", "t").exit_code == 1  # nothing to read there: not a yes
    assert sent_to(broker) == []
    assert skim("replay", "t", "--yes").exit_code == 0
    assert len(sent_to(broker)) == 4


def test_an_empty_or_missing_topic(broker: str) -> None:
    Producer(options(broker)).list_topics("empty.dlq", timeout=10)
    listed = CliRunner().invoke(app, ["dlq", "list", "empty", "--kafka", broker])
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "dead letters: 0" in listed.stderr
    assert isinstance(CliRunner().invoke(app, ["dlq", "list", "none", "--kafka", broker]).exception, SkimError)
