"""`/api/v1/anomaly` and `/api/v1/objects`: the board's rows under Fink's arguments and column names."""

from urllib.parse import urlencode

import redis
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..consumer.board import read_nights
from .arguments import AnomalyArguments, ObjectsArguments, TableArguments, arguments, described
from .columns import LAYOUTS, TAG, choose, layout
from .formats import Table, render
from .page import read_page
from .problems import Problem, listed, wrong
from .rows import MOST_MEMBERS, Entry, of_objects, read_streams

ANOMALY = "/api/v1/anomaly"
OBJECTS = "/api/v1/objects"


def tables(store: redis.Redis) -> APIRouter:
    """The routes of both."""
    router = APIRouter(tags=["tables"])

    async def anomaly(request: Request) -> Response:
        """The most anomalous objects: the ten of each night, newest first, or by score; Fink's arguments and columns.

        A header Link with rel="next" leads to the next page, if there is one.
        """
        asked = await arguments(request, AnomalyArguments)
        return await run_in_threadpool(_anomaly, store, asked)

    async def objects(request: Request) -> Response:
        """All rows of one or more objects, the newest first: what each of their nights kept."""
        asked = await arguments(request, ObjectsArguments)
        return await run_in_threadpool(_objects, store, asked)

    for path, answer, model in ((ANOMALY, anomaly, AnomalyArguments), (OBJECTS, objects, ObjectsArguments)):
        for method in ("GET", "POST"):
            extra = described(model, post=method == "POST")
            name = f"{answer.__name__}_{method.lower()}"
            router.add_api_route(path, answer, methods=[method], openapi_extra=extra, operation_id=name)
    return router


def _anomaly(store: redis.Redis, asked: AnomalyArguments) -> Response:
    page = read_page(store, asked)
    response = _table(store, asked, page.rows)
    if page.following:
        given = asked.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"cursor": page.following}
        response.headers["Link"] = f'<{ANOMALY}?{urlencode(given)}>; rel="next"'
    return response


def _objects(store: redis.Redis, asked: ObjectsArguments) -> Response:
    if asked.withcutouts:
        raise wrong("withcutouts", "the board keeps no cutouts; leave it out, or ask the alert's own broker")
    wanted, nights = asked.objects, read_nights(store, asked.stream)
    if not wanted:
        raise wrong("objectId", "names no object")
    if len(wanted) * len(nights) > MOST_MEMBERS:
        raise wrong("objectId", f"{len(wanted)} objects in {len(nights)} nights are too many at once")
    rows = of_objects(store, asked.stream, wanted, nights)
    return _table(store, asked, rows, tagged=asked.withupperlim)


def _table(store: redis.Redis, asked: TableArguments, rows: list[Entry], tagged: bool = False) -> Response:
    """The rows as asked for. Raises `Problem` (404) if there are none because there is no such board."""
    if not rows and asked.stream not in LAYOUTS:
        must_be_there(store, asked.stream)
    known = layout(asked.stream, rows)
    return render(Table.of(choose((*known, TAG) if tagged else known, asked.names), rows), asked.output_format)


def must_be_there(store: redis.Redis, stream: str) -> None:
    """Raises `Problem` (404) for a stream that has no board."""
    if stream not in (there := read_streams(store)):
        detail = f"there is no board of this name; on this Redis: {listed(there) or 'none'}"
        raise Problem(404, f"stream: {detail}", {"stream": detail})
