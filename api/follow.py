"""`/api/v1/stream`: changes of the board as server-sent events, as they are committed; nobody who was away misses one.

All followers of a stream share one reader of its log: a thousand of them cost Redis as much as one does. One who reads
slowly holds nobody up: each knows its place, and catches up from the log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated

import redis
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import Field

from .arguments import Day, StreamArguments, arguments, described
from .log import Change, Place, bounds, changes_after
from .problems import Problem
from .tables import must_be_there

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
RECENT = 2_000  # changes in memory, a stream: 600 kB
QUIET_SECONDS = 15.0  # then a comment says that the line still stands; proxies cut silent ones after 30 or 60
LONGEST_SECONDS = 3_600.0  # then clients come again, with the id of their last event
MOST_FOLLOWERS = 500


class FollowArguments(StreamArguments):
    """Of `/api/v1/stream`."""

    night: Annotated[Day | None, Field(description="This night's rows alone.")] = None


class Feed:
    """One stream's changes, as they come. It reads the log while somebody follows."""

    def __init__(self, store: redis.Redis, stream: str) -> None:
        self.store = store
        self.stream = stream
        self.followers = 0
        self.recent: deque[Change] = deque(maxlen=RECENT)
        self.from_here = Place(0, 0)  # `recent` has all that came after it
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def follow(self, place: Place) -> AsyncGenerator[list[Change], None]:
        """What comes after `place`; an empty list now and then where nothing does."""
        if not self.followers:
            self._begin(place)
        self.followers += 1
        try:
            while True:
                news = self._news
                found = await self._after(place)
                if found:
                    place = found[-1].place
                else:
                    await _wait(news, QUIET_SECONDS)
                    found = await self._after(place)
                    place = found[-1].place if found else place
                yield found
        finally:
            self.followers -= 1
            if not self.followers and self._reader:
                self._reader.cancel()

    def _begin(self, place: Place) -> None:
        self.recent.clear()
        self.from_here = place
        self._reader = asyncio.create_task(self._read(place))

    async def _after(self, place: Place) -> list[Change]:
        if place >= self.from_here:
            return [one for one in self.recent if one.place > place]
        return await run_in_threadpool(changes_after, self.store, self.stream, place)

    async def _read(self, place: Place) -> None:
        while True:
            try:
                found = await run_in_threadpool(changes_after, self.store, self.stream, place)
            except redis.RedisError as error:
                log.warning("no answer about changes", extra={"stream": self.stream, "reason": str(error)})
                found = []
            for one in found:
                if len(self.recent) == RECENT:
                    self.from_here = self.recent[0].place
                self.recent.append(one)
                place = one.place
            if found:
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(POLL_SECONDS)


def follow(store: redis.Redis, clock: Callable[[], float]) -> APIRouter:
    """The route. `clock` gives seconds."""
    router = APIRouter(prefix="/api/v1", tags=["follow"])
    feeds: dict[str, Feed] = {}

    @router.get(
        "/stream",
        openapi_extra=described(FollowArguments),
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def stream(request: Request) -> Response:
        """Rows as they come onto the board or rise, as server-sent events.

        `event: row`, its `data` is JSON: stream, night, object, event, score, severity, candidate. With the header
        Last-Event-ID it goes on after that one; `event: reset` says that the log no longer reaches back so far: read
        the table anew. The first event, `begin`, tells the id to go on from.
        """
        asked = await arguments(request, FollowArguments)
        if sum(feed.followers for feed in feeds.values()) >= MOST_FOLLOWERS:
            raise Problem(503, f"{MOST_FOLLOWERS} clients follow already", headers={"Retry-After": "60"})
        first, last = await run_in_threadpool(_bounds, store, asked.stream)
        known = Place.of(request.headers.get("last-event-id", ""))
        lost = known is not None and not first <= known <= last
        place = last if known is None or lost else known
        feed = feeds.setdefault(asked.stream, Feed(store, asked.stream))
        night = None if asked.night is None else asked.night.isoformat()
        return StreamingResponse(
            _events(feed, place, "reset" if lost else "begin", night, clock), media_type="text/event-stream"
        )

    return router


def _bounds(store: redis.Redis, stream: str) -> tuple[Place, Place]:
    must_be_there(store, stream)
    return bounds(store, stream)


async def _events(
    feed: Feed, place: Place, greeting: str, night: str | None, clock: Callable[[], float]
) -> AsyncIterator[bytes]:
    until = clock() + LONGEST_SECONDS
    yield _event(place, greeting, b"{}")
    async with aclosing(feed.follow(place)) as following:
        while clock() < until:
            wanted = [one for one in await anext(following) if night is None or one.night == night]
            yield b"".join(_event(one.place, "row", one.data) for one in wanted) or b": \n\n"


def _event(place: Place, kind: str, data: bytes) -> bytes:
    """JSON has no line breaks outside of texts, and escapes them there: one line of data is all of it."""
    return f"id: {place}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
