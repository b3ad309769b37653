"""`/docs`: the OpenAPI file as a page to read. No script, no style or font from elsewhere: it works offline."""

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Response


def guide(app: FastAPI) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """What there is to ask."""
        return Response("\n".join(_page(app.openapi())), media_type="text/html; charset=utf-8")

    return router


def _page(openapi: dict[str, Any]) -> Iterator[str]:
    title = escape(openapi["info"]["title"])
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'
    yield f"<p>{escape(openapi['info']['description'])} For programs: <a href='/openapi.json'>/openapi.json</a>.</p>"
    for path, methods in openapi["paths"].items():
        for method, one in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(one.get('description', ''))}</p>"
            yield from _arguments(one)
    yield "</html>"


def _arguments(operation: dict[str, Any]) -> Iterator[str]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    found = {one["name"]: one["schema"] for one in operation.get("parameters", [])} | body.get("properties", {})
    if found:
        yield "<dl>"
    for name, schema in found.items():
        default = f" (default {schema['default']!r})" if schema.get("default") not in (None, "") else ""
        choices = f" {' | '.join(schema['enum'])}" if "enum" in schema else ""
        yield f"<dt><code>{escape(name)}</code>{escape(choices + default)}</dt>"
        yield f"<dd>{escape(schema.get('description', ''))}</dd>"
    if found:
        yield "</dl>"
