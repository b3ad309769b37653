"""How fast hostile messages are refused: milliseconds of CPU for each bomb of tests/schemas/test_bombs.py, at the first
sight of its schema (nothing remembered), the least of `REPEATS`; `make bench-bombs`. The last line is one JSON object.
"""

import importlib.util
import json
import os
import resource
import time
from pathlib import Path
from types import ModuleType

REPEATS = 5
BUDGET_MS = 50.0
BUILT_IN = Path(__file__).resolve().parents[1] / "tests/schemas/test_bombs.py"


def load(path: Path) -> ModuleType:
    """A module by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print a line a bomb, the slowest last."""
    bombs = load(BUILT_IN)
    bombs.explode(bombs.BOMBS[0])()
    figures, grown = {}, 0
    for bomb in bombs.BOMBS:
        decode, times = bombs.explode(bomb), []
        before = bombs.resident()
        for _ in range(REPEATS):
            began = time.process_time()
            decode()
            times.append((time.process_time() - began) * 1e3)
        grown = max(grown, bombs.resident() - before)
        figures[bomb] = min(times)
    for bomb, milliseconds in sorted(figures.items(), key=lambda one: one[1]):
        print(f"{milliseconds:8.2f} ms  {bomb.reason or 'read':15}  {bomb.name}")
    slowest = max(figures, key=lambda bomb: figures[bomb])
    print(
        json.dumps(
            {
                "bombs": len(figures),
                "slowest_ms": round(figures[slowest], 2),
                "slowest": slowest.name,
                "slowest_refused_ms": round(max(ms for bomb, ms in figures.items() if bomb.reason), 2),
                "over_budget": sorted(bomb.name for bomb, ms in figures.items() if ms >= BUDGET_MS),
                "most_memory_mib": round(grown / 2**20, 1),
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "load": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
