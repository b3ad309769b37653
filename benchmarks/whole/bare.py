"""(d) The ceiling: a loop of `consume(1000)`."""

from whole.spec import BATCH, Meter, Spec, messages


def run(spec: Spec, meter: Meter) -> None:
    """Look at every value, and do nothing with it."""
    size = 0
    for batch in messages(spec, meter, BATCH):
        size += sum(len(one.value() or b"") for one in batch)
    meter.end()
    assert size > 0
