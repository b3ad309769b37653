"""How fast hostile model bundles are refused: milliseconds of CPU for each of tests/scoring/test_model_fuzz.py, the
least of `REPEATS`, and the most memory held meanwhile; `make bench-models`. The last line is one JSON object.
"""

import json
import os
import tempfile
import time
from pathlib import Path

from loading import load
from skimstream.scoring.errors import ModelError
from skimstream.scoring.model import Model

REPEATS = 5
BUNDLES = "scoring/test_model_fuzz.py"


def refuse(folder: Path) -> float:
    """Milliseconds of CPU until the bundle is refused, the least of several."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        try:
            Model.load(folder)
        except ModelError:
            times.append((time.process_time() - began) * 1e3)
        else:
            raise AssertionError(f"{folder} was loaded")
    return min(times)


def main() -> None:
    """Print a line a bundle, the slowest last."""
    fuzz = load(BUNDLES)
    setattr(Model, "id", fuzz.ID)  # noqa: B010 - forged bundles have the id that they state
    figures, memory = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for name, folder in fuzz.bundles(Path(place)):
            figures[name] = refuse(folder)
            memory[name] = fuzz.peak(folder) / fuzz.allowed(folder)
    for name, milliseconds in sorted(figures.items(), key=lambda one: one[1]):
        print(f"{milliseconds:8.2f} ms  {memory[name]:5.2f} of the limit  {name}")
    slowest = max(figures, key=lambda name: figures[name])
    print(
        json.dumps(
            {
                "bundles": len(figures),
                "slowest_ms": round(figures[slowest], 2),
                "slowest": slowest,
                "over_budget": sorted(name for name, ms in figures.items() if ms >= fuzz.BUDGET_MS),
                "most_memory_of_limit": round(max(memory.values()), 2),
                "load": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
