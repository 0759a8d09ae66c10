"""Waiting for executions to end: one query for each owner serves many callers.

`client.py` runs in the process of the callers, `server.py` in the owner's.
"""
