"""Plugins: gateways and types of triggers of the user, loaded and called.

`gateways/registry.py` loads them. To add a gateway, write a plugin (see `gateway.py`).
"""
