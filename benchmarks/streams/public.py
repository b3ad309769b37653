"""Public sets with labelled anomalies, rows in their files' order. All were used to choose before: for development."""

from pathlib import Path

import numpy as np

from .labelled import Labelled, labelled

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "benchmarks"
ADBENCH = {
    "mammography": "23_mammography",
    "pendigits": "28_pendigits",
    "shuttle": "32_shuttle",
    "smtp": "34_smtp",
    "cover": "10_cover",
    "http": "16_http",
}
NAMES = (*ADBENCH, "memstream", "river-shuttle")
PREFIX = 0.1


def public(name: str) -> Labelled:
    """One of `NAMES`. Raises FileNotFoundError without ../shared (but for River's own)."""
    if name in ADBENCH:
        with np.load(SHARED / "adbench" / f"{ADBENCH[name]}.npz") as arrays:
            return labelled(name, arrays["X"].astype(np.float64), arrays["y"] > 0, PREFIX)
    if name == "memstream":
        values = np.loadtxt(SHARED / "memstream" / "memstream_syn.txt").reshape(-1, 1)
        return labelled(name, values, np.loadtxt(SHARED / "memstream" / "memstream_synlabel.txt").ravel() > 0, PREFIX)
    assert name == "river-shuttle", name
    from river import datasets

    rows = list(datasets.Shuttle())
    matrix = np.array([list(row.values()) for row, _ in rows], np.float64)
    return labelled(name, matrix, np.array([bool(anomaly) for _, anomaly in rows]), PREFIX)
