"""Answers to what can't be answered: RFC 9457 problem documents.

They name the argument that is wrong, and hold neither a stack trace nor what Redis said.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import redis
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from ..schemas.errors import SkimError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2

log = logging.getLogger(__name__)


class Problem(SkimError):
    """A request that isn't answered as it was meant. `arguments`: what is wrong with each of them, by name."""

    def __init__(
        self,
        status: int,
        detail: str,
        arguments: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.arguments = dict(arguments or {})
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """As RFC 9457 has it: type, title, status, detail; `errors` names the arguments."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.arguments:
            body["errors"] = [{"argument": name, "detail": detail} for name, detail in self.arguments.items()]
        return Response(to_json(body), self.status, self.headers, MEDIA_TYPE)


def wrong(argument: str, detail: str) -> Problem:
    """400: one argument can't be right."""
    return Problem(400, f"{argument}: {detail}", {argument: detail})


def invalid(error: ValidationError) -> Problem:
    """400: what pydantic says of the arguments, without the values, which are the client's own."""
    found = {".".join(map(str, one["loc"])) or "body": _said(one["type"], one["msg"]) for one in error.errors()}
    return Problem(400, "; ".join(f"{name}: {detail}" for name, detail in found.items()), found)


def _said(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such argument; /openapi.json lists them"
    return message.removeprefix("Value error, ")


def install(app: FastAPI) -> None:
    """Have the app answer errors as problem documents; the gate does so for those that nobody expected."""

    async def told(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - what it is registered for
        return error.response()

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        return Problem(error.status_code, str(error.detail), headers=error.headers).response()

    async def store(_: Request, error: Exception) -> Response:
        log.error("Redis doesn't answer", extra={"problem": str(error)})
        return unavailable(error).response()

    app.add_exception_handler(Problem, told)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(redis.RedisError, store)


def unavailable(error: Exception) -> Problem:
    """503: the kind of Redis' error and no more, since its text may hold addresses."""
    detail = f"the board's Redis doesn't answer ({type(error).__name__})"
    return Problem(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, for a message.

    >>> listed(["a", "b", "c"], 2)
    'a, b, …'
    """
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])
