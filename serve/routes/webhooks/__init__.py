"""The route of webhooks, which other systems call without a key.

`serve/api.py` includes it.
"""
