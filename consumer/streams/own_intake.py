"""Events of a stream of one's own as dicts → rows of features, as its workers make them of messages."""

from collections.abc import Sequence

from ...schemas.columns import Columns
from ...schemas.errors import DecodeError
from ...schemas.gather import gather
from ...scoring.errors import EventRefused
from ...scoring.intake import Event, Intake
from .own import Own


def take_in(stream: Own, places: Sequence[str], events: Sequence[Event]) -> Intake:
    """The rows of `events`, in order, each made from those before it. `places` are what errors call them.

    Raises `EventRefused` for what a worker would make a dead letter of, and for what doesn't pass the gates.
    """
    for place, event in zip(places, events, strict=True):
        try:
            one = gather([event], stream.wanted)
        except DecodeError as error:
            raise EventRefused(error.detail, place=place) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise EventRefused("holds a text that is no Unicode, or a number that is too large", place=place) from error
        if faults := stream.check(one):
            raise EventRefused(faults[0][1].detail, place=place)
        if not stream.passing(one).all():
            raise EventRefused(f"doesn't pass the gates of {stream.name}", place=place)
    columns = gather(events, stream.wanted)
    known = {path.partition(".")[0] for path in stream.wanted.paths}
    return Intake(
        stream.open().features(columns).matrix,
        [{name: _text(stream, columns, name, row) for name in stream.ids} for row in range(len(events))],
        [
            [name for name in stream.wanted.paths if stream.said(columns, name, row) is None]
            for row in range(len(events))
        ],
        _unseen(stream, columns),
        [[str(name) for name in event if name not in known] for event in events],
    )


def _text(stream: Own, columns: Columns, name: str, row: int) -> str | None:
    found = stream.said(columns, name, row)
    return None if found is None else str(found)


def _unseen(stream: Own, columns: Columns) -> list[list[str]]:
    """Of each event the key, entities and categories that no earlier one had."""
    known = set[tuple[str, str]]()
    unseen: list[list[str]] = []
    for row in range(len(columns)):
        values = [
            (name, _text(stream, columns, name, row)) for name in (*stream.plan.entities, *stream.plan.categories)
        ]
        new = [(name, value) for name, value in values if value is not None and (name, value) not in known]
        unseen.append([name for name, _ in new])
        known |= set(new)
    return unseen
