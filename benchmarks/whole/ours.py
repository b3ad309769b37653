"""Skimstream itself: `consumer.run` with its defaults, from the group's first assignment to the last commit."""

from typing import Any

from skimstream.cli.run import settle
from skimstream.consumer.batch import Batch
from skimstream.consumer.config import load_settings
from skimstream.consumer.run import run as run_worker
from skimstream.consumer.worker import Worker
from whole.spec import Meter, Spec


def run(spec: Spec, meter: Meter) -> None:
    """Until all is committed."""
    made: list[Worker] = []

    class Timed(Worker):
        def take(self, batch: Batch) -> None:
            meter.begin()
            super().take(batch)

    def done() -> bool:
        over = bool(made) and made[0].tally.consumed >= spec.events
        if over:
            meter.end()
        return over

    settings = load_settings(None, settings_of(spec))
    run_worker(
        settings,
        spec.load(),
        done,
        ready=lambda port, problem: settle(),
        make=Timed,
        began=made.append,
    )


def settings_of(spec: Spec) -> dict[str, Any]:
    """All else is as Skimstream has it by itself."""
    return {
        "stream": spec.stream,
        "topic": spec.topic,
        "kafka": {"bootstrap": spec.bootstrap, "group": spec.group, "options": {"log_level": 0}},
        "redis": {"url": spec.redis},
        "metrics": {"port": 0},
    }
