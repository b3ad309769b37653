"""What every request passes first: host, rate, token, size of its body. And the headers of every answer."""

import asyncio
import hmac
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Buckets, Rate
from .metrics import Metrics
from .problems import Problem

log = logging.getLogger(__name__)

# Probes need no token: an orchestrator has none. Nor does the page, which asks for it. Neither counts for the rate.
OPEN = ("/live", "/ready", "/")
OPEN_FOLDER = "/static/"
# Answers run nothing and are shown in nobody's frame; a page sets its own.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """What a client may do. `hosts`: the names it may call the server by; empty = any.

    On loopback the names of this machine are the only ones, or else a web page could have its own name point here.
    """

    rate: Rate = field(default_factory=Rate)
    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    hosts: Collection[str] = ()


class Gate:
    """The ASGI middleware."""

    def __init__(self, app: ASGIApp, limits: Limits, buckets: Buckets, token: str | None, metrics: Metrics) -> None:
        self.app = app
        self.limits = limits
        self.buckets = buckets
        self.token = token
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or pass the request on with its whole body."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun, status = perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            try:
                self._let_in(scope)
                body = await self._body(scope, receive)
            except Problem as problem:
                await problem.response()(scope, receive, sent)
            else:
                await self.app(scope, _replayed(body, receive), sent)
        except Exception:
            log.exception("a request failed", extra={"path": scope["path"]})
            if status:
                raise  # half an answer is out: the server breaks the connection off
            await Problem(500, "something unexpected failed; the server's log says what").response()(
                scope, receive, sent
            )
        finally:
            path = getattr(scope.get("route"), "path_format", "other")
            self.metrics.answered(path, scope["method"], status, perf_counter() - begun)

    def _let_in(self, scope: Scope) -> None:
        """Raises `Problem`: 421 for another host's name, 429 for too many requests, 401 without the token."""
        headers = Headers(scope=scope)
        if self.limits.hosts and _name(headers.get("host", "")) not in self.limits.hosts:
            raise Problem(421, "this server doesn't answer to that name; see `skim serve --help`, --allow-host")
        if scope["path"] in OPEN or scope["path"].startswith(OPEN_FOLDER):
            return
        wait = self.buckets.wait(scope["client"][0] if scope.get("client") else "")
        if wait:
            raise Problem(429, "too many requests", headers={"Retry-After": str(math.ceil(wait))})
        given = headers.get("authorization", "").partition(" ")
        right = given[0].lower() == "bearer" and hmac.compare_digest(given[2].encode(), (self.token or "").encode())
        if self.token and not right:
            raise Problem(401, "needs the header Authorization: Bearer TOKEN", headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises `Problem`: 413 if it is too large, 408 if it takes too long."""
        declared = Headers(scope=scope).get("content-length", "0")
        most = self.limits.body_bytes
        too_large = Problem(413, f"the body has more than {most} bytes", headers={"Connection": "close"})
        if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise too_large
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise Problem(408, "the body took too long", headers={"Connection": "close"}) from error
        return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


def _name(host: str) -> str:
    """A Host header without the port.

    >>> _name("127.0.0.1:8000"), _name("[::1]:8000"), _name("LOCALHOST")
    ('127.0.0.1', '[::1]', 'localhost')
    """
    end = host.find("]") + 1 if host.startswith("[") else host.find(":")
    return (host[:end] if end > 0 else host).lower()
