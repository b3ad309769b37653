"""`skim join` on a real Kafka, killed on its way."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Producer

from brokers.kafka import Kafka
from skimstream.consumer.batch import headers_of
from skimstream.consumer.join import LABEL
from skimstream.consumer.stored import stored

SKIM = str(Path(sys.executable).with_name("skim"))
BEGAN = 1_790_000_000
LABELS = 4_000
TOML = """
[stream.pay]
key = "card"
event = "number"
time = "when"
time_format = "seconds"
numbers = ["amount"]
labels = { field = "fraud", event_time = "paid", delay = "1h" }
"""


@pytest.mark.nightly
@pytest.mark.parametrize("kills", [1, 3])
def test_every_label_is_copied_once_however_often_it_is_killed(kills: int, kafka: Kafka, tmp_path: Path) -> None:
    topic, config = f"pay-{time.monotonic_ns()}", tmp_path / "skim.toml"
    config.write_text(TOML)
    for name, partitions in ((topic, 3), (f"{topic}.labels", 2)):
        kafka.create_topic(name, partitions)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0})
    for number in range(LABELS + 1):  # two hours and more, so that all labels of the first hour's are due
        card = f"c{number % 7}"
        event = {"number": f"p{number}", "card": card, "when": BEGAN + 2 * number, "amount": 5}
        producer.produce(topic, json.dumps(event).encode(), card, number % 7 % 3)
        producer.poll(0)
    for number in range(LABELS):
        label = {"event_id": f"p{number}", "label": int(number % 50 == 0)}
        producer.produce(f"{topic}.labels", json.dumps(label).encode())
        producer.poll(0)
    assert producer.flush(30) == 0
    due = (2 * LABELS - 3_600) // 2 + 1  # the stream has come to 2 * LABELS seconds, an hour after these

    options = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}
    command = [SKIM, "join", "pay", "-c", str(config), "--topic", topic, "--kafka", kafka.bootstrap]

    def copies() -> Counter[bytes]:
        places = (dict(headers_of(message) or ()).get(LABEL) for message in stored(options, topic))
        return Counter(place for place in places if place is not None)

    for kill in range(kills):
        before = copies().total()
        joining = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while kill == 0 and copies().total() == before:
            assert time.monotonic() < end
            assert joining.poll() is None
            time.sleep(0.01)
        time.sleep(0.3 * kill)
        joining.kill()
        joining.wait()
    done = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=120, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    found = copies()
    assert set(found.values()) == {1}
    assert found.total() == due
    assert told["copied"] + told["present"] == due
    assert (told["early"], told["unknown"], told["forgotten"]) == (LABELS - due, 0, 0)
