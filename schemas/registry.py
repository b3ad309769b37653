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
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import quote

from .errors import DecodeError, Reason, SkimError
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
# Registries count their ids with Java's int; a question beyond that could only make one stumble.
IDS = 1 << 31
# Seconds for which a patient registry isn't asked again after an outage: less than one notices, more than a timeout.
OUTAGE_SECONDS = 10.0

#: What can come of a look-up. memory, disk, folder: it was at hand. fetched: the registry gave it. failed: the registry
#: answered without one. refused: its answer broke a rule (led to another host, too long, beyond the budgets). outage:
#: it could not answer. held_back: it was not asked, since it lately had no answer.
Event = Literal["memory", "disk", "folder", "fetched", "failed", "refused", "outage", "held_back"]
EVENTS: tuple[Event, ...] = get_args(Event)


class RegistryUnavailable(SkimError):
    """The registry can't answer now, and nothing else has the schema: the messages may be good, so wait and ask again.

    Fields: `schema_id`, `detail`, and `retry_after`, the seconds until the registry is asked again.
    """

    def __init__(self, schema_id: int, detail: str, retry_after: float) -> None:
        super().__init__(f"the schema id {schema_id}: {detail}; the registry is asked again in {retry_after:.0f} s")
        self.schema_id = schema_id
        self.detail = detail
        self.retry_after = retry_after


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

    patient: an outage (no connection, a timeout, a status that speaks of the server and not of the id) raises
    `RegistryUnavailable`, so that the caller can wait instead of giving up good messages; the registry is then asked
    again every `OUTAGE_SECONDS`. Else an outage is a `DecodeError` like an unknown id.

    `counts` has one number an `Event`.
    """

    def __init__(
        self,
        url: str | None = None,
        folder: Path | None = None,
        cache: Path | None = None,
        timeout: float = 5.0,
        ttl: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        patient: bool = False,
    ) -> None:
        self.counts: dict[Event, int] = dict.fromkeys(EVENTS, 0)
        self._host = None if url is None else Host(url, timeout)
        # Two registries may use one id for two schemas, so each has its own folder.
        self._disk = None if url is None or cache is None else _Disk(cache / _digest(url.encode())[:16])
        self._folder, self._ttl, self._clock = folder, ttl, clock
        self._memory: dict[int, bytes] = {}
        self._misses: dict[int, _Miss] = {}
        self._patient = patient
        self._silent_until = -float("inf")
        self._silent_because = ""

    def schema(self, schema_id: int) -> bytes:
        """The JSON text of a schema, complete in itself.

        Raises `DecodeError`: "schema_unknown" where nobody has it, "schema_refused" where it breaks the budgets. Raises
        `RegistryUnavailable` for an outage, if patient.
        """
        text = self._memory.get(schema_id)
        if text is not None:
            self.counts["memory"] += 1
            return text
        text, event = self._find(schema_id)
        self.counts[event] += 1
        if len(self._memory) >= SCHEMAS_KEPT:
            del self._memory[next(iter(self._memory))]
        self._memory[schema_id] = text
        return text

    def known(self, schema_id: int) -> bool:
        """Whether `schema` would give one; asks for it if need be. Raises `RegistryUnavailable` as `schema` does."""
        try:
            self.schema(schema_id)
        except DecodeError:
            return False
        return True

    def _find(self, schema_id: int) -> tuple[bytes, Event]:
        """A schema that is not in memory, and where it was found."""
        if type(schema_id) is not int or not 0 <= schema_id < IDS:
            raise DecodeError("schema_unknown", "a schema id is a positive integer of 32 bits")
        miss = self._misses.get(schema_id)
        if miss is not None and self._clock() < miss.until:
            self.counts["held_back"] += 1
            raise DecodeError(miss.reason, miss.detail)
        text = None if self._disk is None else self._disk.read(schema_id)
        if text is not None:
            return text, "disk"
        try:
            return self._fetch(schema_id), "fetched"
        except (DecodeError, RegistryUnavailable):
            text = None if self._folder is None else read_local(self._folder, schema_id)
            if text is None:
                raise
            return text, "folder"

    def _fetch(self, schema_id: int) -> bytes:
        """Ask the registry, unless it is to be left alone. Raises what `schema` does."""
        if self._host is None:
            raise DecodeError("schema_unknown", f"no schema with the id {schema_id}, and no registry is set")
        now = self._clock()
        if now < self._silent_until:
            self.counts["held_back"] += 1
            raise self._outage(schema_id, self._silent_because, self._silent_until - now)
        if len(self._misses) >= MISSES_KEPT:
            self._misses = {one: miss for one, miss in self._misses.items() if now < miss.until}
            if len(self._misses) >= MISSES_KEPT:
                self.counts["held_back"] += 1
                detail = f"the schema id {schema_id}, after {MISSES_KEPT} unknown ones within {self._ttl:g} s"
                raise DecodeError("schema_unknown", detail)
        try:
            text = self._host.within(partial(_ask, self._host, schema_id))
        except FetchError as error:
            if error.kind in ("silent", "failing"):
                raise self._unanswered(schema_id, error) from error
            missed = DecodeError("schema_unknown", f"the schema id {schema_id}: {error.detail}")
            self._miss(schema_id, missed, "refused" if error.kind == "refused" else "failed")
            raise missed from error
        except DecodeError as error:
            self._miss(schema_id, error, "refused")
            raise
        if self._disk is not None:
            self._disk.write(schema_id, text)
        return text

    def _unanswered(self, schema_id: int, error: FetchError) -> SkimError:
        """Leave the registry alone for a while; what to raise. A patient one forgets the id, to ask for it again."""
        pause = OUTAGE_SECONDS if self._patient else self._ttl
        outage = self._outage(schema_id, error.detail, pause)
        if self._patient or error.kind == "silent":
            self._silent_until, self._silent_because = self._clock() + pause, error.detail
        if isinstance(outage, DecodeError):
            self._miss(schema_id, outage, "outage")
        else:
            self.counts["outage"] += 1
            log.warning("schema %d is not to be had now: %s", schema_id, error.detail)
        return outage

    def _outage(self, schema_id: int, detail: str, pause: float) -> SkimError:
        if self._patient:
            return RegistryUnavailable(schema_id, detail, pause)
        return DecodeError("schema_unknown", f"the schema id {schema_id}: {detail}")

    def _miss(self, schema_id: int, error: DecodeError, event: Event) -> None:
        self.counts[event] += 1
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
