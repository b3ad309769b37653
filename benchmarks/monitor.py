"""What rules cost the stream, and whether it notices a receiver that hangs. `make bench-monitor`; the last line: JSON.

One worker, events in memory, a real Valkey. Rounds in turn: no rules; a rule that asks for one event in a thousand,
whose webhook answers; the same, and the webhook takes every message and never answers.
"""

import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import redis
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from skimstream.cli.embedded import embedded_store
from skimstream.consumer.channel import ChannelSettings
from skimstream.consumer.monitor_metrics import MonitorMetrics
from skimstream.consumer.notifier import Notifier
from skimstream.consumer.outbox import Outbox
from skimstream.consumer.rule import Rule
from skimstream.consumer.rulebook import Book, Rulebook
from skimstream.consumer.watch import Watch
from stage.listed import Listed, Topic, recorder, sessions
from stage.receivers import Webhook

EVENTS, USERS, ROUNDS = 30_000, 2_000, 7
KEPT = 100  # lists that are full soon
RULE = Rule(false_alarm_rate=1e-3, channels=("hook",))
CASES = ("no rules", "answers", "hangs")


def seconds(store: redis.Redis, messages: list[bytes], case: str) -> tuple[float, int]:
    """How long a fresh worker takes for all events, and how many messages the receiver got."""
    store.flushall()
    with ExitStack() as stack:
        hook = stack.enter_context(Webhook())
        if case == "hangs":
            hook.hanging.set()
        channels = {"hook": ChannelSettings(url=SecretStr(f"http://{hook.address}"), timeout=300)}
        book = Book((RULE,), channels) if case != "no rules" else Book()
        watch = Watch(Rulebook(book, "behaviour"))
        worker = recorder(store, kept=KEPT, watch=watch, clock=time.time, checkpoint_seconds=10.0)
        metrics = MonitorMetrics(CollectorRegistry(), "behaviour")
        stack.enter_context(Notifier(Outbox(store, "behaviour"), lambda: watch.rulebook.book, metrics))
        source = Listed(Topic({0: list(messages)}), iter(lambda: 500, None))
        began = time.perf_counter()
        worker.run(source, lambda: source.done)
        return time.perf_counter() - began, hook.asked


def main() -> None:
    """All rounds, the order turned from one to the next."""
    messages = sessions(EVENTS, users=USERS)
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    asked = dict.fromkeys(CASES, 0)
    with embedded_store() as url, redis.Redis.from_url(url) as store:
        for case in CASES:  # what is compiled and imported once
            seconds(store, messages, case)
        for turn in range(ROUNDS):
            for case in CASES[turn % 3 :] + CASES[: turn % 3]:
                spent, asked[case] = seconds(store, messages, case)
                taken[case].append(spent)
            print(
                f"round {turn + 1}: " + ", ".join(f"{case} {taken[case][-1]:.2f} s" for case in CASES), file=sys.stderr
            )
    beside = {
        case: [one / alone for one, alone in zip(taken[case], taken["no rules"], strict=True)] for case in CASES[1:]
    }
    hangs = [one / other for one, other in zip(taken["hangs"], taken["answers"], strict=True)]
    figures = {
        "events_per_second": {case: round(EVENTS / statistics.median(taken[case])) for case in CASES},
        "time_beside_no_rules": {case: round(statistics.median(ratios), 3) for case, ratios in beside.items()},
        "hangs_beside_answers": round(statistics.median(hangs), 3),
        "messages": asked,
        "rounds": ROUNDS,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
