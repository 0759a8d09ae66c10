"""Kafka triggers: aiokafka in a thread of its own, whose connections obey the egress rules."""
