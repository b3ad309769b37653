"""Whether thresholds alarm at the rate they name: six streams without anomalies, by benchmarks/PROTOCOL.md.

    python benchmarks/evaluate_calibration.py [--seed 201]

Realised / nominal over each stream and in each full block of 25 / rate events. The last line is one JSON object.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skimstream.scoring.threshold import Threshold
from skimstream.scoring.train import Options
from streams import stream
from streams.labelled import Bools, Labelled
from streams.parts import Run

RATES = (0.01, 0.001)
EVENTS = 100_000
ALARMS_A_BLOCK = 25
OVERALL, BLOCK = (0.7, 1.4), (0.3, 3.0)
STREAMS = ("nights", "behaviour", "observation", "drift", "bursty", "shuttle")


def quiet(name: str, seed: int) -> Labelled:
    """A stream without anomalies; nights are five nights, one after the other."""
    if name != "nights":
        return stream(name, seed, EVENTS).without_anomalies()
    nights = [stream(name, one) for one in range(seed, seed + 5)]
    matrix, anomaly = (np.concatenate([getattr(one, array) for one in nights]) for array in ("matrix", "anomaly"))
    return replace(nights[0], matrix=matrix, anomaly=anomaly).without_anomalies()


def blocks(alarms: Bools, rate: float) -> list[float]:
    """Realised / nominal of each full block."""
    length = round(ALARMS_A_BLOCK / rate)
    return [float(alarms[at : at + length].mean()) / rate for at in range(0, len(alarms) - length + 1, length)]


def within(values: Sequence[float], bounds: tuple[float, float]) -> bool:
    """Whether all lie between the bounds."""
    return all(bounds[0] <= value <= bounds[1] for value in values)


def main() -> None:
    """Print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=201)
    seed = parser.parse_args().seed
    parts, rows = Options().parts, []
    print("| stream | rate | events | realised / nominal | blocks | least | most |\n|---|---|---|---|---|---|---|")
    for name in STREAMS:
        run = Run(quiet(name, seed), seed)
        combined = run.combined(parts)
        for rate in RATES:
            alarms = Threshold.fit(combined[: run.prefix], rate).alarms(combined[run.prefix :])
            whole, each = float(alarms.mean()) / rate, blocks(alarms, rate)
            good = within([whole], OVERALL) and within(each, BLOCK)
            rows.append({"stream": name, "rate": rate, "realised": round(whole, 3), "blocks": len(each), "good": good})
            extremes = f"{min(each):.2f} | {max(each):.2f}" if each else "- | -"
            print(f"| {name} | {rate:g} | {len(alarms):,} | {whole:.2f} | {len(each)} | {extremes} |", flush=True)
    print(json.dumps({"calibration": rows, "good": all(row["good"] for row in rows)}))


if __name__ == "__main__":
    main()
