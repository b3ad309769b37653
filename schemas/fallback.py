"""Records of a schema that no plan covers: fastavro reads them, slowly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns, Ints, Wanted, concatenate
from .errors import DecodeError
from .gather import gather
from .kernel import FAULTS
from .limits import FALLBACK_BYTES
from .plan import NotCovered, compile_plan
from .project import project
from .reader import read_record
from .resolve import resolve


class Fallback:
    """One writer schema, as `parse_schema` gave it.

    Raises `DecodeError("invalid")` if not even its records can be walked.
    fastavro gets what the kernels found sound: by itself it takes a union's branch -1 for the last one, say.
    """

    def __init__(self, schema: Any, wanted: Wanted) -> None:
        self.schema = schema
        self.wanted = wanted
        self.resolved = resolve(wanted, schema)
        try:
            self.sound = compile_plan(schema, Wanted())
        except NotCovered as reason:
            raise DecodeError("invalid", str(reason)) from reason

    def read(
        self, data: NDArray[np.uint8], start: Ints, end: Ints
    ) -> tuple[Columns, Ints, list[tuple[int, DecodeError]]]:
        """Columns of the good records data[start:end], int64[n] each; which these are; the others, and why."""
        fits = end - start <= FALLBACK_BYTES  # the rest `read_record` refuses, without a walk
        status = np.zeros(len(fits), np.int64)
        _, status[fits] = project(self.sound, data, start[fits], end[fits])
        parts, kept, dead = [], [], []
        for row, (first, last, code) in enumerate(zip(start.tolist(), end.tolist(), status.tolist(), strict=True)):
            try:
                if code:
                    raise DecodeError("decode", FAULTS[code])
                parts.append(gather([read_record(data[first:last].tobytes(), self.schema)], self.resolved))
                kept.append(row)
            except DecodeError as error:
                dead.append((row, error.bare()))
        columns = concatenate(parts) if parts else gather([], self.wanted)
        return columns, np.array(kept, np.int64), dead
