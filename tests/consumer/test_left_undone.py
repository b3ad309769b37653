"""What a worker that is told to stop leaves undone, and that it says so."""

from itertools import repeat

import redis

from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets
from skimstream.consumer.heartbeat import Heartbeat
from skimstream.consumer.outgoing import DeliverySlow
from stage.listed import Letters, Listed, Topic, recorder, sessions


def test_a_batch_whose_dead_letters_are_not_delivered_is_given_up(store: redis.Redis) -> None:
    events = sessions(60)
    source = Listed(Topic({0: [*events[:20], b"broken", *events[20:40]], 1: list(events[40:])}), repeat(20))
    worker = recorder(store, checkpoint_seconds=1e9)
    letters = worker.letters
    assert isinstance(letters, Letters)

    def undelivered() -> None:
        if letters.sent:
            raise DeliverySlow("1 message is not delivered yet")

    letters.confirm = undelivered  # type: ignore[method-assign]
    worker.heartbeat = Heartbeat(0)
    worker.run(source, lambda: source.idled > 0)
    assert worker.heartbeat.fields()["state"] in ("working", "waiting")
    assert worker.unfinished == ["t/0", "t/1"]  # nothing is saved yet
    for number in (0, 1):
        worker.dropped(Address("t", number), lost=False)
    assert worker.unsaved == {"t/0"}
    assert worker.unfinished == ["t/0"]
    assert read_offsets(store, "behaviour") == {"t/0": 20, "t/1": 20}
    again = recorder(store)
    source = Listed(source.held, repeat(20))
    again.run(source, lambda: source.done)
    assert again.tally.dead == {"decode": 1}
    assert worker.tally.consumed + again.tally.consumed == 61  # each was applied by one of them


def test_a_stop_in_an_outage_asks_nothing_else(store: redis.Redis) -> None:
    """Each question would take as long as Redis' timeout, and the time for stopping is short."""
    source = Listed(Topic({0: list(sessions(40))}), repeat(20))
    worker = recorder(store)
    asked: list[str] = []

    def out() -> None:
        asked.append("recall")
        raise redis.ConnectionError("gone")

    def told(name: str) -> object:
        return lambda *_: asked.append(name)

    worker.memory.recall = lambda *_: out()  # type: ignore[method-assign]
    for name in ("report", "verify", "follow"):
        setattr(worker, name, told(name))
    worker.pulse.beat = told("beat")  # type: ignore[method-assign,assignment]
    worker.run(source, lambda: source.idled > 0)
    assert set(asked) == {"recall"}


def test_what_went_to_another_worker_before_is_not_left_undone(store: redis.Redis) -> None:
    source = Listed(Topic({0: list(sessions(20))}), repeat(20))
    worker = recorder(store, checkpoint_seconds=1e9)
    worker.run(source, lambda: source.done)
    worker.stopping = lambda: False
    worker.dropped(Address("t", 0), lost=True)
    assert worker.unfinished == []
