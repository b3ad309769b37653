"""The app: all routes, behind the gate. It reads the board and writes nothing."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from time import monotonic

import redis
from fastapi import FastAPI

from ..consumer.streams.own import Own
from .about import about
from .gate import Gate, Limits
from .guide import guide
from .health import health
from .limits import Buckets
from .metrics import Metrics
from .problems import install
from .score import Models, score
from .tables import tables


def create_app(
    store: redis.Redis,
    models: Models,
    token: str | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = monotonic,
    own: Mapping[str, Own] | None = None,
) -> FastAPI:
    """The app. `store` is the board's Redis, shared by all requests; without `token` nobody needs one.

    `clock` gives seconds and is what the limits on rate go by. `own`: streams of one's own, to score events of.
    """
    limits = limits or Limits()
    metrics = Metrics()
    app = FastAPI(
        title="Skimstream",
        description="The most anomalous objects of each night, and why; with Fink's arguments and column names.",
        version=version("skimstream"),
        docs_url=None,
        redoc_url=None,
    )
    for router in (tables(store), about(store), score(models, own or {}), health(store, metrics)):
        app.include_router(router)
    app.include_router(guide(app))
    install(app)
    app.add_middleware(Gate, limits=limits, buckets=Buckets(limits.rate, clock), token=token, metrics=metrics)
    return app
