"""Whatever the OpenAPI file allows, and what it doesn't, is answered without an error of the server's."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import redis
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from skimstream.api.follow import LONGEST_SECONDS
from stage.boarded import client_of

PATHS = (
    "/api/v1/anomaly",
    "/api/v1/objects",
    "/api/v1/schema",
    "/api/v1/streams",
    "/api/v1/explain/{stream}/{event}",
    "/api/v1/timeline/{stream}/{object}",
    "/api/v1/stream",
    "/api/v1/score/{stream}",
    "/live",
    "/ready",
    "/metrics",
)
# They take no arguments, or such that any text may be one.
ALWAYS_RIGHT = (
    "GET /api/v1/streams",
    "GET /api/v1/timeline/{stream}/{object}",
    "GET /live",
    "GET /ready",
    "GET /metrics",
)
EXAMPLES, FEWEST_ANSWERS = 12, 100


def test_the_file_lists_every_path(client: httpx.Client) -> None:
    assert set(client.get("/openapi.json").json()["paths"]) == set(PATHS)
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.text
    assert all(path in page.text for path in PATHS)


@pytest.fixture
def client(board: redis.Redis) -> Iterator[httpx.Client]:
    """A client of a server whose hours pass as it is asked, so that nobody follows a stream for long."""
    with client_of(board, clock=partial(next, itertools.count(0.0, LONGEST_SECONDS))) as one:
        yield one


def test_no_server_error(client: httpx.Client) -> None:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    statuses: list[int] = []

    def check(case: Any) -> None:
        response = case.call(base_url=str(client.base_url))
        case.validate_response(response, checks=[not_a_server_error])
        statuses.append(response.status_code)
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]

    limits = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )

    def run(operation: Any, mode: GenerationMode) -> None:
        tried: Any = given(operation.as_strategy(generation_mode=mode))
        limited: Callable[[], None] = limits(tried(check))
        limited()

    operations: Any = schema.get_all_operations()
    for found in operations:
        operation = found.ok()
        run(operation, GenerationMode.POSITIVE)
        if operation.label not in ALWAYS_RIGHT:
            run(operation, GenerationMode.NEGATIVE)
    assert len(statuses) >= FEWEST_ANSWERS
    assert {200, 400, 404} <= set(statuses)
