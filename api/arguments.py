"""Arguments of requests: what they are called, what they may be, and where they stand: query string over JSON body."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from .problems import Problem, invalid, wrong

MOST_ROWS = 10_000
MOST_COLUMNS = 200
MOST_OBJECTS = 200
KEPT = 1_000  # of a night, by default (board.kept)

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _day(value: object) -> object:
    if isinstance(value, date) or value is None:
        return value
    if not isinstance(value, str) or not _DAY.fullmatch(value.strip()):
        raise ValueError("is not a date, YYYY-MM-DD")
    try:
        return date.fromisoformat(value.strip())
    except ValueError as error:
        raise ValueError("is a date that doesn't exist") from error


def _joined(value: object) -> object:
    """A list of names is as good as names with commas between them."""
    return ",".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Names = Annotated[str, BeforeValidator(_joined)]
Stream = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The board's name.")]


class StreamArguments(BaseModel):
    """Of `/api/v1/schema`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: Stream = "ztf"


class EventArguments(BaseModel):
    """Of `/api/v1/explain/{stream}/{event}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: Stream
    event: Annotated[str, Field(min_length=1, max_length=256, description="An object's id, or an event's.")]
    night: Annotated[Day | None, Field(description="Where to look; if none, where the object was last.")] = None


class ObjectArguments(BaseModel):
    """Of `/api/v1/timeline/{stream}/{object}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: Stream
    object: Annotated[str, Field(min_length=1, max_length=256, description="An object's id.")]


class TableArguments(StreamArguments):
    """What every table takes."""

    columns: Annotated[Names, Field(max_length=8_192, description="Names with commas between; all if none.")] = ""
    output_format: Annotated[Literal["json", "csv", "parquet", "votable"], Field(alias="output-format")] = "json"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are asked for, each once; () = all."""
        return split("columns", self.columns, MOST_COLUMNS)

    @property
    def whole(self) -> bool:
        """Whether any of them is of what is large in a row."""
        return "d:lightcurve" in self.names


class AnomalyArguments(TableArguments):
    """Of `/api/v1/anomaly`: Fink's five, and ours."""

    n: Annotated[int, Field(ge=1, le=MOST_ROWS, description="How many rows at most.")] = 10
    start_date: Annotated[Day | None, Field(description="First day, UTC, inclusive.")] = None
    stop_date: Annotated[Day | None, Field(description="Last day, UTC, inclusive.")] = None
    order: Annotated[
        Literal["time", "score"], Field(description="time: the newest first, as Fink's; score: the most anomalous.")
    ] = "time"
    min_score: Annotated[float, Field(ge=0, le=1, description="Of the column d:score.")] = 0.0
    night: Annotated[Day | None, Field(description="This night's rows alone, as the board names it.")] = None
    per_night: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="How many of each night's most anomalous objects: 10, as Fink's; of one `night`, 1000.",
        ),
    ] = None
    cursor: Annotated[str, Field(max_length=1_000, description="From the header Link: where the next page begins.")] = (
        ""
    )

    @property
    def of_each_night(self) -> int:
        """How many of a night's objects take part."""
        return self.per_night or (10 if self.night is None else KEPT)


class ObjectsArguments(TableArguments):
    """Of `/api/v1/objects`."""

    objectId: Annotated[Names, Field(min_length=1, max_length=8_192, description="One or more, commas between.")]
    withupperlim: Annotated[bool, Field(description="Adds d:tag, which is always valid: no limits are kept.")] = False
    withcutouts: Annotated[bool, Field(description="The board has none: only False is answered.")] = False

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that are asked for."""
        return split("objectId", self.objectId, MOST_OBJECTS)


def split(argument: str, text: str, most: int) -> tuple[str, ...]:
    """Names with commas between them, each once, without spaces around. Raises `Problem` if there are too many.

    >>> split("columns", "i:jd, i:objectId,i:jd,", 10)
    ('i:jd', 'i:objectId')
    """
    names = tuple(dict.fromkeys(name for one in text.split(",") if (name := one.strip())))
    if len(names) > most:
        raise wrong(argument, f"names {len(names)}, at most {most} are answered at once")
    return names


A = TypeVar("A", bound=BaseModel)


async def arguments(request: Request, model: type[A], **path: str) -> A:
    """The request's arguments: the path's, the query string's, and of a POST those of its JSON body, in this order.

    Raises `Problem` (400), which names what is wrong.
    """
    given: dict[str, Any] = {}
    if request.method == "POST":
        body = parsed(await request.body() or b"{}")
        if not isinstance(body, dict):
            raise wrong("body", "is not a JSON object of arguments")
        given = {name: value for name, value in body.items() if value is not None}
    for name in request.query_params:
        given[name] = ",".join(request.query_params.getlist(name))
    try:
        return model.model_validate(given | path)
    except ValidationError as error:
        raise invalid(error) from error


def parsed(body: bytes) -> Any:
    """JSON of a request's body. Raises `Problem`."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}", {"body": "is not JSON"}) from error


def described(model: type[BaseModel], post: bool = False, path: Sequence[str] = ()) -> dict[str, Any]:
    """What OpenAPI says of the arguments: of a GET in the query string, of a POST in the body."""
    schema = model.model_json_schema()
    if post:
        return {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    required: Mapping[str, Any] = dict.fromkeys(schema.get("required", []))
    return {
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": one}
            for name, one in schema["properties"].items()
            if name not in path
        ]
    }
