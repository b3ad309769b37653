"""(b) Micro-batches by hand."""

import numpy as np

from whole.hand import Hand
from whole.naive import first_of
from whole.spec import Meter, Spec, messages

SIZE = 500


def run(spec: Spec, meter: Meter) -> None:
    """One consume, one score_samples and one pipeline a batch."""
    hand = Hand(spec, first_of(spec))
    for batch in messages(spec, meter, SIZE):
        records = [hand.decode(message.value() or b"") for message in batch]
        features = [hand.features(record) for record in records]
        frozen = -hand.forest.score_samples(np.array([list(one.values()) for one in features]))
        scores = [(f + hand.online(one)) / 2 for f, one in zip(frozen.tolist(), features, strict=True)]
        hand.write([hand.row(record, score) for record, score in zip(records, scores, strict=True)])
    meter.end()
