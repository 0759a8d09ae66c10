"""Calls between owners and dispatchers: the owner's client, and the dispatcher's pool.

`client.py` runs in owners, `pool.py` in dispatchers. Neither knows the state of executions.
"""
