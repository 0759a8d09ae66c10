"""Kafka triggers: aiokafka in a thread of its own, whose connections obey the egress rules.

`runtime/triggers/sources/known_types.py` loads it. It reads records, and does not submit
executions.
"""

from rillflow.private_apis.kafka_client.limits import parse_in_python

parse_in_python()
