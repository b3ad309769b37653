"""`/live`: the process answers. `/ready`: it has a board to read, or says why not. `/metrics`."""

import redis
from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json

from .metrics import Metrics
from .problems import Problem, unavailable
from .rows import read_streams


def health(store: redis.Redis, metrics: Metrics) -> APIRouter:
    """The routes of all three."""
    router = APIRouter(tags=["health"])

    @router.get("/live")
    async def live() -> Response:
        """200 as long as the process answers; looks at nothing else."""
        return _json({"live": True})

    @router.get("/ready")
    async def ready() -> Response:
        """200 if there is a board to read, else 503; `detail` says why not."""
        return await run_in_threadpool(_ready, store)

    @router.get("/metrics")
    async def exposition() -> Response:
        """Prometheus' text format."""
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router


def _ready(store: redis.Redis) -> Response:
    try:
        streams = read_streams(store)
    except redis.RedisError as error:
        raise unavailable(error) from error
    if not streams:
        raise Problem(503, "Redis answers, but no worker has written a board yet: start one with `skim run`")
    return _json({"ready": True, "streams": streams})


def _json(value: object) -> Response:
    return Response(to_json(value), media_type="application/json")
