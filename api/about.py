"""What is on the board: streams and nights, columns, and why a row is there."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import from_json, to_json

from ..consumer.board import key, read_nights, read_workers
from .arguments import EventArguments, StreamArguments, arguments, described
from .columns import LAYOUTS, layout
from .problems import Problem
from .rows import Entry, entries, members, of_event, read_streams
from .tables import must_be_there


def about(store: redis.Redis) -> APIRouter:
    """The routes `schema`, `streams` and `explain`."""
    router = APIRouter(prefix="/api/v1", tags=["about the board"])

    async def answered(read: Callable[..., Any], *given: Any) -> Response:
        return Response(to_json(await run_in_threadpool(read, store, *given)), media_type="application/json")

    @router.get("/schema", openapi_extra=described(StreamArguments))
    async def schema(request: Request) -> Response:
        """The columns of a stream: name, type, and what it is."""
        return await answered(_schema, (await arguments(request, StreamArguments)).stream)

    @router.get("/streams")
    async def streams() -> Response:
        """The streams on the board: nights (the latest first), model of the latest row, thresholds now, workers."""
        return await answered(_streams)

    @router.get("/explain/{stream}/{event:path}", openapi_extra=described(EventArguments, path=("stream", "event")))
    async def explain(request: Request, stream: str, event: str) -> Response:
        """Why a row is on the board: all details. `event` is an object's id, or an event's (of a recent `night`)."""
        asked = await arguments(request, EventArguments, stream=stream, event=event)
        return await answered(_explain, asked)

    return router


def _schema(store: redis.Redis, stream: str) -> dict[str, Any]:
    rows: list[Entry] = []
    if stream not in LAYOUTS:
        must_be_there(store, stream)
        nights = read_nights(store, stream)[:1]
        rows = [one for places in members(store, stream, nights, 10) for one in entries(store, stream, places)]
    columns = [
        {"name": one.name, "type": one.kind, "about": one.about, "large": one.large} for one in layout(stream, rows)
    ]
    return {"stream": stream, "columns": columns}


def _streams(store: redis.Redis) -> list[dict[str, Any]]:
    return [_stream(store, stream, read_nights(store, stream)) for stream in read_streams(store)]


def _stream(store: redis.Redis, stream: str, nights: list[str]) -> dict[str, Any]:
    latest = nights[:1]
    first = [one for places in members(store, stream, latest, 1) for one in entries(store, stream, places)]
    workers = read_workers(store, stream)
    rows: Any = store.zcard(key(stream, "top", latest[0])) if latest else 0
    return {
        "stream": stream,
        "nights": nights,
        "rows_of_latest": rows,
        "model": first[0].details.get("model") if first else None,
        "thresholds": _thresholds(store, stream),
        "workers": {"alive": workers.alive, "last_seen": _utc(workers.last)},
    }


def _thresholds(store: redis.Redis, stream: str) -> dict[str, Any]:
    """By partition, the bars in force: of severities combined values, of the monitor's rules what they ask for."""
    stored: Any = store.hgetall(key(stream, "thresholds"))
    return {name.decode("utf-8", "replace"): from_json(bars) for name, bars in sorted(stored.items())}


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _explain(store: redis.Redis, asked: EventArguments) -> dict[str, Any]:
    """The details; raises `Problem` (404) if no row is this object's or event's."""
    night = None if asked.night is None else asked.night.isoformat()
    found = of_event(store, asked.stream, asked.event, night)
    if found is None:
        must_be_there(store, asked.stream)
        detail = "no row is this object's, nor this event's in the latest nights: name the night of an older event"
        raise Problem(404, f"event: {detail}", {"event": detail})
    return {"stream": asked.stream, "object": found.object, "rank": found.rank, **found.details}
