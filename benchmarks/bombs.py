"""How fast hostile messages are refused: milliseconds of CPU for each bomb of tests/schemas/test_bombs.py, at the first
sight of its schema (nothing remembered), the least of `REPEATS`; `make bench-bombs`. The last line is one JSON object.
"""

import json
import os
import resource
import time

from loading import load

REPEATS = 5
BUDGET_MS = 50.0
BUILT_IN = "schemas/test_bombs.py"


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
