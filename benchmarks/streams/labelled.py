"""A stream of features and the truth about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST_ROWS = 1_000  # that training needs


@dataclass(frozen=True)
class Labelled:
    """Rows float64[n, f] in their natural order (NaN = missing), `anomaly` bool[n]; the first `prefix` rows train."""

    name: str
    features: tuple[str, ...]
    matrix: Floats
    anomaly: Bools
    prefix: int

    def without_anomalies(self) -> "Labelled":
        """The ordinary events alone; as many of them train as did before, less the anomalies among those."""
        kept = ~self.anomaly
        prefix = int(kept[: self.prefix].sum())
        return Labelled(self.name, self.features, self.matrix[kept], self.anomaly[kept], prefix)


def labelled(name: str, matrix: Floats, anomaly: Bools, share: float, features: tuple[str, ...] = ()) -> Labelled:
    """A stream whose first `share`, and at least 1,000 rows, train."""
    names = features or tuple(f"f{column:02d}" for column in range(matrix.shape[1]))
    return Labelled(name, names, np.ascontiguousarray(matrix), anomaly, max(FEWEST_ROWS, int(share * len(matrix))))
