"""One contender in a process of its own: `python -m whole.contender NAME SPEC`; the last line is JSON."""

import importlib
import json
import sys

from whole.spec import Meter, Spec

#: By name, what each is. All decode the same messages and end in the same Redis.
CONTENDERS = {
    "ours": "Skimstream's worker as `skim run` runs it: 500 messages a batch, all parts of its ensemble, checkpoints",
    "naive": "(a) fastavro, scikit-learn's forest and River's half-space trees, event by event",
    "batched": "(b) the same in micro-batches of 500: one score_samples a batch; River takes one event at a time",
    "quix": "(c) Quix Streams, whose function calls Skimstream's decoder and models, event by event",
    "bare": "(d) a loop of consume(1000) that looks at each message's value and does nothing else: the ceiling",
}


def main() -> None:
    """Run it."""
    name, spec = sys.argv[1], Spec(**json.loads(sys.argv[2]))
    module, meter = importlib.import_module(f"whole.{name}"), Meter()
    module.run(spec, meter)
    print(json.dumps(meter.figures(spec.events)))


if __name__ == "__main__":
    main()
