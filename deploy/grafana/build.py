"""Writes dashboards/*.json, named after their uids."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .anomalies import anomalies
from .overview import overview
from .worker import worker

FOLDER = Path(__file__).parent / "dashboards"


def texts() -> dict[str, str]:
    """What each file is to hold, by its name."""
    made = {board.uid: board for board in (overview(), anomalies(), worker())}
    return {f"{uid}.json": json.dumps(board, cls=JSONEncoder, indent=1) + "\n" for uid, board in made.items()}


def main() -> None:
    """Write them, and remove what is none of them."""
    FOLDER.mkdir(exist_ok=True)
    wanted = texts()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
