"""Web sessions and payments: 17 numbers and six categories an event, and what is unusual for this user.

`user_id` is the key and `session_id` names the event; neither is ever a feature.
"""

import json
import secrets
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import schemas
from ...schemas.columns import Columns, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.entities import LIFETIME, Entities, Keys
from ...scoring.features.behaviour import CATEGORIES, FEATURES, NUMBERS, UNITS, BehaviourFeatures
from ...scoring.intake import EARLIEST, LATEST
from .base import SECONDS_A_DAY, Features, Floats, Ints, faults
from .timestamp import parse_times

CAPACITY = 200_000  # users in memory, a partition; the others wait in Redis
# Ids are kept in memory and in Redis, a user a row. UUIDs have 36 bytes; a SHA-512 in hexadecimal, the longest hash
# that stands in for an id, has 128.
ID_BYTES = 128
MALFORMED = f"is longer than {ID_BYTES} bytes, or holds control characters"


class Behaviour:
    """The stream `behaviour`."""

    name = "behaviour"
    framing: Choice = "plain"
    key_field = "user_id"
    wanted = Wanted(numbers=NUMBERS, texts=("user_id", "session_id", "transaction_date", *CATEGORIES))
    features: tuple[str, ...] = FEATURES
    units: tuple[str, ...] = UNITS
    unscored_reasons: tuple[str, ...] = ("warming",)
    described: tuple[str, ...] = ("transaction_date", "device_type", "geolocation_city", "transaction_amount")

    def __init__(self, capacity: int = CAPACITY, lifetime: int = LIFETIME) -> None:
        self.capacity = capacity
        self.lifetime = lifetime

    def schema(self) -> Mapping[str, Any] | None:
        """The project's own `behaviour/1.avsc`."""
        text = resources.files(schemas).joinpath("avsc", "behaviour", "1.avsc").read_text()
        schema: dict[str, Any] = json.loads(text)
        return schema

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Events without a user, a session or a time that can be, or with numbers that aren't."""
        when = self.times(columns)
        infinite = np.asarray((~np.isfinite(columns.numbers) & ~columns.number_null).any(axis=1))
        ids = [(name, columns.text(name)) for name in ("user_id", "session_id")]
        return faults(
            *((one.length <= 0, DecodeError("invalid", f"there is no {name}")) for name, one in ids),
            *((one.malformed(ID_BYTES), DecodeError("invalid", f"{name} {MALFORMED}")) for name, one in ids),
            (np.isnan(when), DecodeError("invalid", "transaction_date is not an ISO 8601 date or time")),
            ((when < EARLIEST) | (when > LATEST), DecodeError("invalid", "transaction_date is not in 2000 to 2100")),
            (infinite, DecodeError("non_finite", "a number is NaN or infinite")),
        )

    def open(self) -> "BehaviourState":
        """Nobody known yet."""
        return BehaviourState(self)

    def times(self, columns: Columns) -> Floats:
        """float64[n]: seconds since the epoch, NaN where there is no readable time."""
        return parse_times(columns.text("transaction_date"))

    def nights(self, columns: Columns) -> Ints:
        """Calendar days UTC: people's evenings end at midnight."""
        return np.floor(self.times(columns) / SECONDS_A_DAY).astype(np.int64)

    def object_id(self, columns: Columns, row: int) -> str:
        """The user."""
        return columns.text("user_id").at(row) or ""

    def event_id(self, columns: Columns, row: int) -> str:
        """The session."""
        return columns.text("session_id").at(row) or ""

    def describe(self, columns: Columns, row: int) -> Mapping[str, float | int | str | None]:
        """When, where, on what, how much."""
        *texts, number = self.described
        amount = columns.number(number)[row]
        return {
            **{name: columns.text(name).at(row) for name in texts},
            number: float(amount) if np.isfinite(amount) else None,
        }

    def light_curve(self, columns: Columns, row: int) -> None:
        """None: sessions have no brightness."""


class BehaviourState:
    """One partition's users. Satisfies `State`."""

    keys_per_event = 1

    def __init__(self, stream: Behaviour) -> None:
        self.stream = stream
        # Strangers choose the ids: a secret salt keeps them from crowding one corner of the hash table.
        self.users = BehaviourFeatures(capacity=stream.capacity, lifetime=stream.lifetime, salt=secrets.randbits(64))
        self.entities: Entities | None = self.users.entities

    @property
    def state_bytes(self) -> int:
        """Memory that the remembered users take."""
        return self.users.state_bytes

    def keys(self, columns: Columns) -> Keys:
        """The users."""
        return columns.text("user_id").hashes()

    def features(self, columns: Columns) -> Features:
        """Every valid event is scorable."""
        categories = np.column_stack([columns.text(name).hashes() for name in CATEGORIES])
        matrix = self.users.compute(self.keys(columns), self.stream.times(columns), columns.numbers, categories)
        return Features(np.arange(len(columns)), matrix, {})

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """How often the categories' values were seen."""
        return self.users.shared()

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave."""
        self.users.restore_shared(shared)
