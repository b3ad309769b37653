"""The page at `/`: a few files that browsers run as they are. It asks the API of the same server, and nobody else."""

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from .gate import OPEN_FOLDER
from .problems import Problem

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
# Its own files, its own API, and nothing that stands in a text: no inline script or style, no string made HTML.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


class File(NamedTuple):
    """What is sent of a file."""

    body: bytes
    media_type: str
    etag: str


def site() -> APIRouter:
    """The routes. The files are read once: there is no path on disk that a request could name."""
    router = APIRouter()
    files = dict(_files(resources.files(__package__ or "").joinpath("static")))

    def answer(request: Request, name: str) -> Response:
        if name not in files:
            raise Problem(404, "Not Found")
        file = files[name]
        headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)

    @router.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        """The page."""
        return answer(request, "index.html")

    @router.get(OPEN_FOLDER + "{name:path}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        """What the page is made of."""
        return answer(request, name)

    return router


def _files(folder: Traversable, place: str = "") -> Iterator[tuple[str, File]]:
    """All files of the page by name; others, as READMEs, are not sent."""
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files(one, f"{place}{one.name}/")
        elif media_type := TYPES.get(one.name.rpartition(".")[2]):
            body = one.read_bytes()
            yield place + one.name, File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:16]}"')
