"""What an alert costs by the length of the light curve that it brings: decoding it and making its features."""

import copy
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from skimstream.consumer.streams.registry import stream_of
from skimstream.producer.encode import container
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.schemas.decode import Decoder
from whole.hand import Hand

LENGTHS = {False: (10, 30, 100, 300, 1_000, 3_000), True: (10, 100)}
ALERTS, FEW = 100, 10  # of ours, and of those read by hand
SEED, NIGHT = 1, date(2026, 11, 21)


def history(quick: bool, repeats: int) -> dict[str, dict[str, float]]:
    """By length, microseconds of CPU an alert: ours, by hand (fastavro and light-curve), and the median ratio."""
    return {str(length): _one(alerts(length), repeats) for length in LENGTHS[quick]}


def alerts(length: int) -> list[bytes]:
    """Simulated ZTF alerts with so many earlier detections each, in two bands by turns."""
    random, schema, found = np.random.default_rng(SEED), load("ztf_like"), []
    for one in simulate_night(SEED, NIGHT, ALERTS, 0.0):
        record: Any = copy.deepcopy(one.record)
        candidate, names = record["candidate"], record["prv_candidates"][0]
        times = np.sort(candidate["jd"] - 0.01 - 30.0 * random.random(length))
        record["prv_candidates"] = [
            {
                **{name: candidate.get(name) for name in names},
                "jd": jd,
                "fid": 1 + i % 2,
                "magpsf": candidate["magpsf"] + noise,
            }
            for i, (jd, noise) in enumerate(zip(times.tolist(), random.normal(0, 0.1, length).tolist(), strict=True))
        ]
        found.append(container(record, schema))
    return found


def _one(messages: list[bytes], repeats: int) -> dict[str, float]:
    stream, hand = stream_of("ztf"), Hand.reading("ztf")
    decoder, state = Decoder(stream.wanted, stream.framing, stream.schema()), stream.open()

    scored = state.features(decoder.decode(list(messages)).columns).rows
    messages = [messages[row] for row in scored.tolist()]  # the others are gated: of them no features are made

    def ours() -> None:
        assert len(state.features(decoder.decode(list(messages)).columns).rows) == len(messages)

    def by_hand() -> None:
        for message in messages[:FEW]:
            hand.features(hand.decode(message))

    ours()
    by_hand()
    mine, theirs = [], []
    for _ in range(repeats):
        mine.append(_cpu(ours) / len(messages))
        theirs.append(_cpu(by_hand) / FEW)
    return {
        "ours_us": round(statistics.median(mine), 1),
        "hand_us": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(their / my for my, their in zip(mine, theirs, strict=True)), 1),
    }


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return 1e6 * (time.process_time() - began)
