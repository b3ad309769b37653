"""(c) Quix Streams, whose function decodes and scores each event with Skimstream's own parts, and writes it."""

import json
from typing import Any

import numpy as np
import redis
from quixstreams import Application

from skimstream.consumer.address import Address
from skimstream.consumer.checkpoint import Begun
from skimstream.consumer.fence import NEW, Fence
from skimstream.consumer.partition import Partition
from skimstream.consumer.run import warm_up
from skimstream.consumer.streams.base import night_name
from skimstream.consumer.streams.registry import stream_of
from skimstream.schemas.decode import Decoder
from whole.spec import Meter, Spec

KEPT = 1_000


def run(spec: Spec, meter: Meter) -> None:
    """Until all events went through the function."""
    stream, model, store = stream_of(spec.stream), spec.load(), redis.Redis.from_url(spec.redis)
    warm_up(stream, model)
    partition = Partition(Address("", 0), stream, model, Begun(Fence(0, f"0:{NEW}:0"), "", ""))
    decoder = Decoder(stream.wanted, stream.framing, stream.schema())
    floors: dict[str, float] = {}

    def score(value: bytes) -> None:
        meter.begin()
        columns, _, _ = partition.check(decoder.decode([value]).columns)
        featured = partition.features(columns)
        scores = partition.score(featured)
        if not len(featured.rows) or not np.isfinite(scores.score[0]):
            return
        found, night = float(scores.score[0]), night_name(int(featured.nights[0]))
        if found < floors.get(night, 0.0):
            return
        owner = stream.object_id(columns, int(featured.rows[0]))
        top, details = f"top:{night}", f"details:{night}"
        with store.pipeline(transaction=False) as pipe:
            pipe.zadd(top, {owner: found}, gt=True)
            pipe.hset(details, owner, json.dumps({"score": found}))
            pipe.zremrangebyrank(top, 0, -KEPT - 1)
            pipe.zcard(top)
            pipe.zrange(top, 0, 0, withscores=True)
            *_, held, lowest = pipe.execute()
        if held >= KEPT:
            floors[night] = float(lowest[0][1])

    options: dict[str, Any] = {"log_level": 0}
    application = Application(
        broker_address=spec.bootstrap,
        consumer_group=spec.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        consumer_extra_config=options,
        producer_extra_config=options,
        loglevel="ERROR",
    )
    topic = application.topic(spec.topic, value_deserializer="bytes", key_deserializer="bytes")
    application.dataframe(topic).update(score)
    application.run(count=spec.events)
    meter.end()
