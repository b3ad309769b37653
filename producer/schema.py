"""The Avro schemas that the simulators write with, read from the package's own data."""

import json
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import fastavro

from .. import schemas
from ..schemas.errors import SkimError


class SchemaNotFound(SkimError):
    """No schema file of that name and version. Fields: `name`, `version`."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"no schema {name!r} version {version}: see the folder schemas/avsc for what there is")
        self.name = name
        self.version = version


@dataclass(frozen=True)
class WriterSchema:
    """An Avro schema, ready to write with.

    `text` is the schema as compact JSON, `parsed` fastavro's form of it, `sync` the 16 bytes between a container's
    blocks: a digest of the schema instead of random bytes, so that equal records give equal containers.

    >>> schema = WriterSchema('{"type": "record", "name": "point", "fields": [{"name": "x", "type": "double"}]}')
    >>> schema.parsed["name"], len(schema.sync)
    ('point', 16)
    """

    text: str
    parsed: Any = field(init=False, repr=False, compare=False)
    sync: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parsed", fastavro.parse_schema(json.loads(self.text)))
        object.__setattr__(self, "sync", sha256(self.text.encode()).digest()[:16])


@cache
def load(name: str, version: int = 1) -> WriterSchema:
    """The schema `schemas/avsc/<name>/<version>.avsc`; raises `SchemaNotFound`.

    >>> load("behaviour").parsed["name"]
    'skimstream.behaviour_event'
    """
    try:
        text = files(schemas).joinpath("avsc", name, f"{version}.avsc").read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaNotFound(name, version) from error
    return WriterSchema(json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False))
