"""Skimstream itself: `consumer.run` with its defaults, from the group's first assignment to the last commit."""

from typing import Any

from skimstream.cli.models import load_model
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

    given: dict[str, Any] = {
        "stream": spec.stream,
        "topic": spec.topic,
        "kafka": {"bootstrap": spec.bootstrap, "group": spec.group, "options": {"log_level": 0}},
        "redis": {"url": spec.redis},
        "metrics": {"port": 0},
    }
    settings = load_settings(None, given)
    run_worker(settings, load_model(spec.stream, None), done, make=Timed, began=made.append)
