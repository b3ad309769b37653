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
from .log import AT_ONCE, Change, Place, bounds, changes_after
from .problems import Problem
from .tables import must_be_there

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
RECENT = 20  # pages in memory, a stream: 500 changes each at most, 3 kB to 4 MB
QUIET_SECONDS = 15.0  # then a comment says that the line still stands; proxies cut silent ones after 30 or 60
LONGEST_SECONDS = 3_600.0  # then clients come again, with the id of their last event
MOST_FOLLOWERS = 500


class FollowArguments(StreamArguments):
    """Of `/api/v1/stream`."""

    night: Annotated[Day | None, Field(description="This night's rows alone.")] = None


class Page:
    """Changes in order, all that came after `begins` and up to `ends`; `told` is their events, made once for all."""

    def __init__(self, begins: Place, changes: list[Change]) -> None:
        self.begins, self.ends = begins, changes[-1].place
        self.changes = changes
        self.told = _rows(changes)

    def after(self, place: Place, night: str | None) -> bytes:
        """The events that came after `place`, of one night or of all."""
        if place <= self.begins and night is None:
            return self.told
        return _rows([one for one in self.changes if one.place > place and night in (None, one.night)])


class Feed:
    """One stream's changes, as they come. It reads the log while somebody follows."""

    def __init__(self, store: redis.Redis, stream: str) -> None:
        self.store = store
        self.stream = stream
        self.followers = 0
        self.pages: deque[Page] = deque(maxlen=RECENT)
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def follow(self, place: Place, night: str | None) -> AsyncGenerator[bytes, None]:
        """Events that come after `place`; b"" now and then where none does."""
        if not self.followers:
            self.pages.clear()
            self._reader = asyncio.create_task(self._read(place))
        self.followers += 1
        try:
            while True:
                news, page = self._news, await self._next(place)
                if page is None:
                    await _wait(news, QUIET_SECONDS)
                    page = await self._next(place)
                if page is None:
                    yield b""
                else:
                    place, before = page.ends, place
                    yield page.after(before, night)
        finally:
            self.followers -= 1
            if not self.followers and self._reader:
                self._reader.cancel()

    async def _next(self, place: Place) -> Page | None:
        """The page with what came right after `place`, from memory or, if that is too long ago, from the log."""
        if not self.pages or place >= self.pages[-1].ends:
            return None
        if place < self.pages[0].begins:
            return await self._page(place)
        return next(page for page in self.pages if place < page.ends)

    async def _page(self, place: Place) -> Page | None:
        found = await run_in_threadpool(changes_after, self.store, self.stream, place)
        return Page(place, found) if found else None

    async def _read(self, place: Place) -> None:
        while True:
            try:
                page = await self._page(place)
            except redis.RedisError as error:
                log.warning("no answer about changes", extra={"stream": self.stream, "reason": str(error)})
                page = None
            if page:
                self.pages.append(page)
                place = page.ends
                self._news.set()
                self._news = asyncio.Event()
            if not page or len(page.changes) < AT_ONCE:
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
    async with aclosing(feed.follow(place, night)) as following:
        while clock() < until:
            yield await anext(following) or b": \n\n"


def _rows(changes: list[Change]) -> bytes:
    return b"".join(_event(one.place, "row", one.data) for one in changes)


def _event(place: Place, kind: str, data: bytes) -> bytes:
    """JSON has no line breaks outside of texts, and escapes them there: one line of data is all of it."""
    return f"id: {place}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
