"""Boards that real workers wrote, and clients of the API over them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date

import httpx
import redis
import uvicorn

from skimstream.api.app import create_app
from skimstream.api.gate import Limits
from skimstream.api.limits import Rate
from skimstream.api.listen import listen
from skimstream.consumer.streams.own import Own
from skimstream.consumer.streams.ztf import Ztf
from skimstream.producer.encode import container
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.scoring.model import Model
from stage.listed import Listed, Topic, model_of, recorder, sessions

#: Dates of the mornings, UTC, in which they end; the board names them by the evenings before.
NIGHTS = (date(2026, 11, 19), date(2026, 11, 20), date(2026, 11, 21))
UNLIMITED = Limits(rate=Rate(1e9, 1_000_000_000))


def alerts(night: date, count: int = 250, seed: int = 5) -> list[bytes]:
    """A small night of ZTF-like alerts, encoded as ZTF does."""
    schema = load("ztf_like")
    return [container(one.record, schema) for one in simulate_night(seed, night, count, anomaly_rate=0.05)]


def fill(store: redis.Redis) -> None:
    """Three nights of `ztf` and a day of `behaviour`, written by workers."""
    for name, stream, messages in (
        ("ztf", Ztf(), [one for night in NIGHTS for one in alerts(night)]),
        ("behaviour", None, sessions(300)),
    ):
        source = Listed(Topic({0: list(messages)}), iter(lambda: 200, None))
        recorder(store, name, stream).run(source, lambda source=source: source.done)  # type: ignore[misc]


@contextmanager
def client_of(
    store: redis.Redis,
    token: str | None = None,
    limits: Limits = UNLIMITED,
    clock: Callable[[], float] = lambda: 0.0,
    models: Callable[[str], Model] = model_of,
    own: Mapping[str, Own] | None = None,
) -> Iterator[httpx.Client]:
    """A client of a real server in a thread, over this board, with the shipped models if no others."""
    app = create_app(store, models, token, limits, clock, own)
    server, listening = (
        uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)),
        listen("127.0.0.1", 0),
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
