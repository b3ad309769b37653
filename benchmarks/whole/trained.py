"""Models of streams that Skimstream brings none for, trained once from the benchmark's own messages."""

import subprocess
import sys
import tempfile
from pathlib import Path

from whole.arena import ELASTICC, ROOT, workload

FOLDER = ROOT / "build" / "bench"
SKIM = str(Path(sys.executable).with_name("skim"))
MESSAGES = 5_607  # all real ones there are


def model_of(stream: str) -> Path | None:
    """A folder; None for the streams that have a model of Skimstream's."""
    if stream != "lsst":
        return None
    folder = FOLDER / f"model-{stream}-{'real' if ELASTICC.exists() else 'simulated'}"
    if not (folder / "manifest.json").exists():
        print(f"training a model for {stream}, once, into {folder}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as place:
            for i, message in enumerate(workload(stream, MESSAGES)[0]):
                (Path(place) / f"{i:06d}.avro").write_bytes(message)
            command = [SKIM, "train", stream, place, "--out", str(folder)]
            subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 (its own)
    return folder
