"""Schema ids → schemas: from memory, disk, a Confluent-style registry, or a local folder, in this order.

Source: Confluent Schema Registry API, `GET /schemas/ids/<id>`. Rubin's ids are 100 major + minor of its alert schema.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from .errors import DecodeError, Reason
from .fetch import FetchError, Host
from .limits import SCHEMA_BYTES, check_schema
from .references import inline, read_local

log = logging.getLogger(__name__)

# Rubin has 24 versions so far; 256 schemas of the largest size are 64 MiB.
SCHEMAS_KEPT = 256
# Ids remembered as unknown, and so the most questions without an answer that a registry gets within one TTL.
MISSES_KEPT = 256
# Schemas of other subjects that one schema may pull in.
REFERENCES = 32
IDS = 1 << 32


class _Miss(NamedTuple):
    """Why there is no schema, without the exception: its traceback would keep whole answers in memory."""

    until: float
    reason: Reason
    detail: str


class Registry:
    """Writer schemas by their id.

    url: the registry's address (http or https), the only host ever asked. folder: .avsc files for ids that it can't
    give (`read_local`). cache: a folder that keeps what was fetched over restarts. timeout: seconds that one look-up
    may take in all. ttl: seconds for which an unknown id, or a registry that is silent, is not asked again. clock:
    seconds, monotonic. Not for several threads at once.

    `fetched` counts schemas that the registry gave, `failed` questions without a usable answer, and `refused` answers
    that broke a rule: led to another host, too long, a schema outside the budgets.
    """

    def __init__(
        self,
        url: str | None = None,
        folder: Path | None = None,
        cache: Path | None = None,
        timeout: float = 5.0,
        ttl: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fetched = self.failed = self.refused = 0
        self._host = None if url is None else Host(url, timeout)
        # Two registries may use one id for two schemas, so each has its own folder.
        self._disk = None if url is None or cache is None else _Disk(cache / _digest(url.encode())[:16])
        self._folder, self._ttl, self._clock = folder, ttl, clock
        self._memory: dict[int, bytes] = {}
        self._misses: dict[int, _Miss] = {}
        self._silent_until = -float("inf")

    def schema(self, schema_id: int) -> bytes:
        """The JSON text of a schema, complete in itself.

        Raises `DecodeError`: "schema_unknown" where nobody has it, "schema_refused" where it breaks the budgets.
        """
        text = self._memory.get(schema_id)
        if text is None:
            text = self._find(schema_id)
            if len(self._memory) >= SCHEMAS_KEPT:
                del self._memory[next(iter(self._memory))]
            self._memory[schema_id] = text
        return text

    def known(self, schema_id: int) -> bool:
        """Whether `schema` would give one; asks for it if need be."""
        try:
            self.schema(schema_id)
        except DecodeError:
            return False
        return True

    def _find(self, schema_id: int) -> bytes:
        if type(schema_id) is not int or not 0 <= schema_id < IDS:
            raise DecodeError("schema_unknown", "a schema id is an integer of 32 bits")
        miss = self._misses.get(schema_id)
        if miss is not None and self._clock() < miss.until:
            raise DecodeError(miss.reason, miss.detail)
        text = None if self._disk is None else self._disk.read(schema_id)
        if text is not None:
            return text
        try:
            return self._fetch(schema_id)
        except DecodeError:
            text = None if self._folder is None else read_local(self._folder, schema_id)
            if text is None:
                raise
            return text

    def _fetch(self, schema_id: int) -> bytes:
        """Ask the registry, unless it is to be left alone. Raises `DecodeError`."""
        if self._host is None:
            raise DecodeError("schema_unknown", f"no schema with the id {schema_id}, and no registry is set")
        now = self._clock()
        if now < self._silent_until:
            raise DecodeError("schema_unknown", f"the schema id {schema_id}: {self._host.name} did not answer lately")
        if len(self._misses) >= MISSES_KEPT:
            self._misses = {one: miss for one, miss in self._misses.items() if now < miss.until}
            if len(self._misses) >= MISSES_KEPT:
                detail = f"the schema id {schema_id}, after {MISSES_KEPT} unknown ones within {self._ttl:g} s"
                raise DecodeError("schema_unknown", detail)
        try:
            text = self._host.within(partial(_ask, self._host, schema_id))
        except FetchError as error:
            if error.kind == "silent":
                self._silent_until = self._clock() + self._ttl
            missed = DecodeError("schema_unknown", f"the schema id {schema_id}: {error.detail}")
            self._miss(schema_id, missed, refused=error.kind == "refused")
            raise missed from error
        except DecodeError as error:
            self._miss(schema_id, error, refused=True)
            raise
        self.fetched += 1
        if self._disk is not None:
            self._disk.write(schema_id, text)
        return text

    def _miss(self, schema_id: int, error: DecodeError, refused: bool) -> None:
        if refused:
            self.refused += 1
        else:
            self.failed += 1
        self._misses[schema_id] = _Miss(self._clock() + self._ttl, error.reason, error.detail)
        log.warning("schema %d is not to be had from the registry: %s", schema_id, error.detail)


def _ask(host: Host, schema_id: int, deadline: float) -> bytes:
    """One schema from the registry, with what it refers to; runs in a thread of its own, so it changes nothing."""
    try:
        answer = _answer(host.get(f"/schemas/ids/{schema_id}", deadline))
        text: str = answer["schema"]
        if answer.get("references"):
            named: dict[str, Any] = {}
            _gather_references(host, answer["references"], named, deadline)
            text = json.dumps(inline(json.loads(text), named.get), separators=(",", ":"))
        return _checked(text.encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError("absent", f"{host.name} sends something that is not a schema: {error!r:.200}") from error


def _answer(body: bytes) -> dict[str, Any]:
    answer = json.loads(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
        raise ValueError("no object with a text 'schema'")
    if answer.get("schemaType", "AVRO") != "AVRO":
        raise ValueError(f"a schema of the type {answer['schemaType']!r:.20}; only Avro's can be read")
    return answer


def _gather_references(host: Host, references: Any, named: dict[str, Any], deadline: float) -> None:
    """Fetch what a schema refers to, and what that refers to, into `named`: full name → parsed schema."""
    waiting = list(references)
    while waiting:
        one = waiting.pop()
        if one["name"] in named:
            continue
        if len(named) >= REFERENCES:
            raise DecodeError("schema_refused", f"a schema that pulls in more than {REFERENCES} others")
        path = f"/subjects/{quote(one['subject'], safe='')}/versions/{int(one['version'])}"
        answer = _answer(host.get(path, deadline))
        named[one["name"]] = json.loads(answer["schema"])
        waiting += answer.get("references") or []


def _checked(text: bytes) -> bytes:
    if len(text) > SCHEMA_BYTES:
        raise DecodeError("schema_refused", f"a schema of {len(text)} bytes; {SCHEMA_BYTES} are allowed")
    check_schema(json.loads(text))
    return text


class _Disk:
    """One file a schema: its SHA-256 in hexadecimal, a line end, its text. Damaged files count as absent.

    A disk that fails costs a question to the registry after the next restart, never a message.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, schema_id: int) -> bytes | None:
        path = self._folder / str(schema_id)
        try:
            with path.open("rb") as file:
                digest, _, text = file.read(SCHEMA_BYTES + 65).partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the cached schema %s can't be read: %s", path, error)
            return None
        if digest.decode("latin-1") != _digest(text):
            log.warning("the cached schema %s is damaged; it is fetched anew", path)
            return None
        return text

    def write(self, schema_id: int, text: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(text).encode() + b"\n" + text)
            os.replace(temporary, self._folder / str(schema_id))  # whole or not at all
        except OSError as error:
            log.warning("the schema %d can't be kept in %s: %s", schema_id, self._folder, error)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
