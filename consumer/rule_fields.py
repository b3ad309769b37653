"""Fields that a rule asks for and no event of the stream has: such a rule tells nobody anything, for ever."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from .rule import FIELD, Condition, Rule
from .streams.base import Stream

OF_ALL = ("object", "event", "night", "score", "combined", "severity", "model")


def fields(stream: Stream) -> tuple[str, ...]:
    """What a rule of this stream may ask for; some features of own streams have names that no condition can have."""
    own = (*(f"candidate.{name}" for name in stream.described), *(f"features.{name}" for name in stream.features))
    return (*OF_ALL, *(field for field in own if re.fullmatch(FIELD, field)))


def doubts(rules: Iterable[Rule], stream: Stream) -> list[str]:
    """For people: what is asked for in vain, with what was perhaps meant."""
    known, found = fields(stream), []
    for rule in rules:
        for text in rule.where:
            field = ".".join(Condition.read(text).path)
            if field not in known:
                close = get_close_matches(field, known, 1)
                meant = f"; perhaps {close[0]}" if close else ""
                found.append(f"rule {rule.name!r} asks for {field}, which no event of {stream.name} has{meant}")
    return found
