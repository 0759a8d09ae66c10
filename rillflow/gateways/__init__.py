"""Outbound calls: the adapters of the Gateway port, and the parsing of callbacks.

Dispatchers call `registry.py`, which chooses a gateway; `serve/routes/hot.py` reads callbacks with
`callbacks`. Gateways do not know the state of executions.
"""
