"""`/api/v1/timeline`: an object's notable events, night by night, as workers wrote them down."""

from typing import Any

import redis
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import from_json, to_json

from ..consumer.board import key, read_nights
from .arguments import ObjectArguments, arguments, described
from .rows import Entry
from .tables import must_be_there


def timeline(store: redis.Redis) -> APIRouter:
    """The route."""
    router = APIRouter(prefix="/api/v1", tags=["about the board"])

    @router.get("/timeline/{stream}/{object:path}", openapi_extra=described(ObjectArguments, path=("stream", "object")))
    async def events(request: Request, stream: str, object: str) -> Response:
        """The object's notable events (1 in 100 is) of all nights, in order of time: event, score, severity, record."""
        asked = await arguments(request, ObjectArguments, stream=stream, object=object)
        found = await run_in_threadpool(_timeline, store, asked.stream, asked.object)
        return Response(to_json(found), media_type="application/json")

    return router


def _timeline(store: redis.Redis, stream: str, name: str) -> dict[str, Any]:
    must_be_there(store, stream)
    nights = read_nights(store, stream)
    with store.pipeline(transaction=False) as pipe:
        for night in nights:
            pipe.hget(key(stream, "timeline", night), name)
        texts: list[bytes | None] = pipe.execute()
    events = [
        Entry(night, None, name, from_json(line))
        for night, text in zip(nights, texts, strict=True)
        for line in (text or b"").splitlines()
    ]
    ordered = sorted(events, key=lambda one: (one.time, str(one.details["event"])))
    return {"stream": stream, "object": name, "events": [{"night": one.night, **one.details} for one in ordered]}
