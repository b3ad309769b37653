"""The errors of scoring: a broken model, a matrix that is not the model's, a row or an event that can't be scored."""

from itertools import zip_longest

from ..schemas.errors import SkimError


class ModelError(SkimError):
    """A model's arrays are malformed, or do not fit what they are given.

    `problem` says what is wrong and what to do; `where`, if known, names the array, file or matrix.

    >>> raise ModelError("is float64, expected float32: save the model again", where="threshold")
    Traceback (most recent call last):
    skimstream.scoring.errors.ModelError: threshold: is float64, expected float32: save the model again
    """

    def __init__(self, problem: str, *, where: str | None = None) -> None:
        super().__init__(problem if where is None else f"{where}: {problem}")
        self.problem = problem
        self.where = where


class FeatureMismatch(ModelError):
    """The features given are not the model's, in the model's order.

    `expected` (the model's) and `given` are tuples of names; the message names the first difference.

    >>> raise FeatureMismatch(("amplitude", "skew"), ("skew", "amplitude"))
    Traceback (most recent call last):
    skimstream.scoring.errors.FeatureMismatch: features: number 0 should be 'amplitude' but is 'skew': \
give the model's features, in its order
    """

    def __init__(self, expected: tuple[str, ...], given: tuple[str, ...]) -> None:
        super().__init__(
            f"{_first_difference(expected, given)}: give the model's features, in its order", where="features"
        )
        self.expected = expected
        self.given = given


class RowRefused(ModelError):
    """A row holds a value that the model cannot take; `row` and `column` say where in the matrix, counted from 0."""

    def __init__(self, problem: str, *, row: int, column: int) -> None:
        super().__init__(problem, where=f"row {row}, column {column}")
        self.row = row
        self.column = column


class EventRefused(SkimError):
    """An event that can't be scored: `place` says which one, `field` which of its fields, `problem` what is wrong.

    >>> raise EventRefused("is 'ten' (str), expected a number", place="event 3", field="click_events")
    Traceback (most recent call last):
    skimstream.scoring.errors.EventRefused: event 3, click_events: is 'ten' (str), expected a number
    """

    def __init__(self, problem: str, *, place: str, field: str | None = None) -> None:
        super().__init__(f"{place if field is None else f'{place}, {field}'}: {problem}")
        self.problem = problem
        self.place = place
        self.field = field


def _first_difference(expected: tuple[str, ...], given: tuple[str, ...]) -> str:
    for number, (want, have) in enumerate(zip_longest(expected, given)):
        if have is None:
            return f"number {number}, {want!r}, is missing ({len(given)} given, {len(expected)} expected)"
        if want is None:
            return f"number {number}, {have!r}, is one too many ({len(given)} given, {len(expected)} expected)"
        if want != have:
            return f"number {number} should be {want!r} but is {have!r}"
    return "none differs"
