"""Pictures of the dashboards for docs/grafana.md: `skim demo`, scraped by a real Prometheus, asked what Grafana asks.

Needs `tests` on the path (PYTHONPATH), for the Prometheus that `make dev` unpacked and a receiver of alerts.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit
from urllib.request import urlopen

from brokers.prometheus import Prometheus
from stage.receivers import Webhook

from .build import texts
from .draw import drawn
from .plot import Series
from .queries import Asked, queries_by_panel

FOLDER = Path(__file__).resolve().parents[2] / "docs/images"
# Long enough that the models are warm, rates have settled and a checkpoint has been written.
SECONDS, LEAD = 90, 25
STEP = 1.0
# A rule and who hears of it, so that there is something to see of them, too.
RULES = [{"name": "one in a thousand", "false_alarm_rate": 1e-3, "channels": ["pipeline"]}]
ADDRESS = re.compile(r"http://[^\s,]+")
CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: skimstream
    static_configs: [{targets: %s}]
"""


def main() -> None:
    """Run the demo, and draw each dashboard as it was shortly before the end."""
    command = [sys.executable, "-m", "skimstream.cli.main", "demo", "--for", f"{SECONDS}s"]
    with (
        Webhook() as hook,
        subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=settings(f"http://{hook.address}/"),
        ) as demo,
    ):
        try:
            page, workers = addresses(demo)
            targets = [urlsplit(address).netloc for address in (page, *workers)]
            with Prometheus({"prometheus.yml": CONFIG % json.dumps(targets)}) as prometheus:
                end = time.time() + SECONDS - 5
                while time.time() < end:
                    urlopen(page).close()  # noqa: S310 - the demo's own
                    time.sleep(1)
                for name, text in texts().items():
                    board = json.loads(text)
                    answers = {number: answered(prometheus, asked) for number, asked in queries_by_panel(board)}
                    (FOLDER / f"{Path(name).stem}.svg").write_text(drawn(board, answers))
        finally:
            demo.terminate()


def settings(hook: str) -> dict[str, str]:
    """The environment of the demo, with settings for its workers."""
    channels = {"pipeline": {"url": hook}}
    told = {"SKIM_MONITOR": json.dumps(RULES), "SKIM_CHANNELS": json.dumps(channels), "SKIM_ANOMALIES__TOPIC": ""}
    return {**os.environ, **told}


def addresses(demo: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """The addresses of the page and of the workers' metrics, as the demo says them."""
    page = ""
    said = cast(IO[str], demo.stderr)
    for line in said:
        if line.startswith("the page: "):
            page = ADDRESS.findall(line)[0]
        if line.startswith("metrics: "):
            threading.Thread(target=said.read, daemon=True).start()  # it says more, and nobody must hold it up
            return page, ADDRESS.findall(line)
    raise SystemExit("the demo did not start")


def answered(prometheus: Prometheus, asked: Sequence[Asked]) -> list[Series]:
    """What Prometheus has to say to a panel's queries."""
    found: list[Series] = []
    now = time.time()
    for query in asked:
        expression = query.filled(rate="15s", span="2m")
        if query.instant:
            answer = [{**one, "values": [one["value"]]} for one in prometheus.query(expression)]
        else:
            answer = prometheus.query_range(expression, now - SECONDS + LEAD, now, STEP)
        found += [series(query, one) for one in answer]
    return found


def series(query: Asked, answer: Mapping[str, Any]) -> Series:
    """One of the answer's series, called as the panel calls it."""
    labels = {name: value for name, value in answer["metric"].items() if name != "__name__"}
    name = re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), query.legend).strip()
    values = answer["values"]
    return Series(name, labels, [float(time) for time, _ in values], [float(value) for _, value in values])


if __name__ == "__main__":
    main()
