"""Events at a fixed rate, whatever becomes of them: `python -m whole.offer SPEC RATE`; events on stdin, in hexadecimal.

Each bears the time at which it was due, so that a producer that falls behind hides no delay.
"""

import json
import sys
import time

from confluent_kafka import Producer

from whole.spec import Spec

TICK = 0.01


def main() -> None:
    """Send as many as the spec asks for."""
    spec, rate = Spec(**json.loads(sys.argv[1])), float(sys.argv[2])
    messages = [bytes.fromhex(line) for line in sys.stdin.read().split()]
    producer = Producer({"bootstrap.servers": spec.bootstrap, "linger.ms": 1, "log_level": 0})
    began, sent = time.time(), 0
    while sent < spec.events:
        due = min(spec.events, int((time.time() - began) * rate) + 1)
        for i in range(sent, due):
            when = int(1000 * (began + i / rate))
            producer.produce(spec.topic, messages[i % len(messages)], partition=i % spec.partitions, timestamp=when)
        sent = due
        producer.poll(0)
        time.sleep(TICK)
    behind = time.time() - began - spec.events / rate
    producer.flush(30)
    print(json.dumps({"behind_s": behind}))


if __name__ == "__main__":
    main()
