"""The app: all routes, behind the gate. It reads the board and writes nothing."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from time import monotonic

import redis
from fastapi import FastAPI

from ..consumer.streams.own import Own
from .about import about
from .follow import follow
from .gate import Gate, Limits
from .guide import guide
from .health import health
from .limits import Buckets
from .metrics import Metrics
from .problems import install
from .score import Models, score
from .site import site
from .tables import tables
from .timeline import timeline


def create_app(
    store: redis.Redis,
    models: Models,
    token: str | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = monotonic,
    own: Mapping[str, Own] | None = None,
) -> FastAPI:
    """The app. `store` is the board's Redis, shared by all requests; without `token` nobody needs one.

    `clock` gives seconds: the limits on rate go by it, and the longest time that somebody follows at a stretch.
    `own`: streams of one's own, to score events of.
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
    for router in (
        tables(store),
        about(store),
        timeline(store),
        follow(store, clock),
        score(models, own or {}),
        health(store, metrics),
    ):
        app.include_router(router)
    app.include_router(guide(app))
    app.include_router(site())
    install(app)
    app.add_middleware(Gate, limits=limits, buckets=Buckets(limits.rate, clock), token=token, metrics=metrics)
    return app
