"""Web sessions and payments: 17 numbers and six categories an event, and what is unusual for this user.

`user_id` is the key and `session_id` names the event; neither is ever a feature.
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from ... import schemas
from ...schemas.columns import Columns, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.features.behaviour import CATEGORIES, FEATURES, NUMBERS, UNITS, BehaviourFeatures
from .base import SECONDS_A_DAY, Features, Floats, Ints, faults
from .timestamp import parse_times

CAPACITY = 200_000  # users remembered a partition
# What the old system called "time" may be any year that a web event can have: 2000-01-01 to 2100-01-01.
EARLIEST, LATEST = 946_684_800.0, 4_102_444_800.0


class Behaviour:
    """The stream `behaviour`."""

    name = "behaviour"
    framing: Choice = "plain"
    wanted = Wanted(numbers=NUMBERS, texts=("user_id", "session_id", "transaction_date", *CATEGORIES))
    features: tuple[str, ...] = FEATURES
    units: tuple[str, ...] = UNITS
    unscored_reasons: tuple[str, ...] = ("warming",)

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity

    def schema(self) -> Mapping[str, Any] | None:
        """The project's own `behaviour/1.avsc`."""
        text = resources.files(schemas).joinpath("avsc", "behaviour", "1.avsc").read_text()
        schema: dict[str, Any] = json.loads(text)
        return schema

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Events without a user or a time that can be, or with numbers that aren't."""
        when = self.times(columns)
        infinite = np.asarray((~np.isfinite(columns.numbers) & ~columns.number_null).any(axis=1))
        no_user = columns.text("user_id").length <= 0
        return faults(
            (no_user, DecodeError("invalid", "there is no user_id")),
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
        texts = {name: columns.text(name).at(row) for name in ("transaction_date", "device_type", "geolocation_city")}
        amount = columns.number("transaction_amount")[row]
        return {**texts, "transaction_amount": float(amount) if np.isfinite(amount) else None}


class BehaviourState:
    """One partition's users. Satisfies `State`."""

    def __init__(self, stream: Behaviour) -> None:
        self.stream = stream
        self.users = BehaviourFeatures(capacity=stream.capacity)

    @property
    def tracked(self) -> int:
        """Users remembered now."""
        return self.users.tracked

    @property
    def evicted(self) -> int:
        """Users forgotten so far to stay under the cap."""
        return self.users.evicted

    @property
    def state_bytes(self) -> int:
        """Memory that the remembered users take."""
        return self.users.state_bytes

    def features(self, columns: Columns) -> Features:
        """Every valid event is scorable."""
        categories = np.column_stack([columns.text(name).hashes() for name in CATEGORIES])
        matrix = self.users.compute(
            columns.text("user_id").hashes(), self.stream.times(columns), columns.numbers, categories
        )
        return Features(np.arange(len(columns)), matrix, {})
