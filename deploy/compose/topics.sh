#!/bin/bash
# Creates the topics it is given, where they are not there yet: PARTITIONS each, at the broker BOOTSTRAP.
set -eu
for topic in "$@"; do
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server "$BOOTSTRAP" --create --if-not-exists \
        --topic "$topic" --partitions "$PARTITIONS" --replication-factor 1
done
