"""(a) Event by event, as one would write it first."""

from dataclasses import replace

from confluent_kafka import Message

from whole.hand import Hand
from whole.spec import Meter, Spec, messages

LEARNED = 500  # messages that the forest is fitted on; not measured


def run(spec: Spec, meter: Meter) -> None:
    """Decode, score, learn, write; one message at a time."""
    hand = Hand(spec, first_of(spec))
    for (message,) in messages(spec, meter, 1):
        record = hand.decode(message.value() or b"")
        features = hand.features(record)
        frozen = -float(hand.forest.score_samples([list(features.values())])[0])
        hand.write([hand.row(record, (frozen + hand.online(features)) / 2)])
    meter.end()


def first_of(spec: Spec) -> list[Message]:
    """What the forest learns from."""
    asked = replace(spec, events=min(LEARNED, spec.events), group=f"{spec.group}-first")
    return [one for batch in messages(asked, Meter(), LEARNED) for one in batch]
