"""`POST /api/v1/score/{stream}`: events scored as a worker with a fresh partition would; no state is changed."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json

from ..consumer.streams.own import Own
from ..consumer.streams.own_intake import take_in
from ..consumer.streams.registry import NAMES
from ..scoring.errors import EventRefused, ModelError
from ..scoring.model import Model
from ..scoring.predictor import Predictor
from .arguments import parsed
from .problems import Problem, listed, wrong

MOST_EVENTS = 1_000

#: The model of a stream of this name: the one that its workers score with.
Models = Callable[[str], Model]

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"type": "object"},
                        {"type": "array", "items": {"type": "object"}, "maxItems": MOST_EVENTS},
                    ]
                }
            }
        },
    }
}


def score(models: Models, own: Mapping[str, Own]) -> APIRouter:
    """The route. `own`: streams of one's own by name."""
    router = APIRouter(prefix="/api/v1", tags=["score"])

    @router.post("/score/{stream}", openapi_extra=_BODY)
    async def score_events(request: Request, stream: str) -> Response:
        """Score one event, or a list in the order they happened: each is compared with those before it in the list."""
        if stream not in NAMES and stream not in own:
            detail = f"there is no such stream; choose one of {listed((*NAMES, *own))}"
            detail += "" if own else "; for one of your own, start `skim serve` with the --config that defines it"
            raise Problem(404, f"stream: {detail}", {"stream": detail})
        given = parsed(await request.body())
        return Response(
            to_json(await run_in_threadpool(_scored, models, stream, own.get(stream), given)),
            media_type="application/json",
        )

    return router


def _scored(models: Models, stream: str, own: Own | None, given: Any) -> Any:
    """The result of one event, or of each of a list, with the id of the model."""
    events = given if isinstance(given, list) else [given]
    if len(events) > MOST_EVENTS:
        raise wrong("body", f"has {len(events)} events, at most {MOST_EVENTS} are scored at once")
    try:
        predictor = Predictor(models(stream), take=partial(take_in, own) if own else None)
    except ModelError as error:
        if own is None:
            raise
        raise Problem(404, f"model: {error}", {"model": str(error)}) from error
    try:
        results = predictor.predict_batch(events)
    except EventRefused as error:
        name = f"{error.place}, {error.field}" if error.field else error.place
        raise wrong(name, error.problem) from error
    answers = [{**one, "model": predictor.model.id} for one in results]
    return answers if isinstance(given, list) else answers[0]
