"""Triggers with a source, such as a topic of Kafka, and the reading of their events.

Used by `runtime/triggers/start.py`; it knows no client of a source.
"""
