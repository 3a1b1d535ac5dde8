"""Sends records by librdkafka: brokers, topic and compression as arguments, a JSON list of records on standard input."""

import base64
import json
import sys

from confluent_kafka import Producer

brokers, topic, compression = sys.argv[1:4]
producer = Producer(
    {
        "bootstrap.servers": brokers,
        "compression.type": compression,
        # Long enough that records share a batch: compression is of batches.
        "linger.ms": 200,
        "acks": "all",
    }
)
errors = []
for record in json.load(sys.stdin):
    producer.produce(
        topic,
        value=base64.b64decode(record["value"]),
        key=record["key"],
        headers=[(name, None if text is None else text.encode()) for name, text in record["headers"]],
        partition=record["partition"],
        on_delivery=lambda error, _: error and errors.append(str(error)),
    )
producer.flush(30)
if errors:
    sys.exit(errors[0])
