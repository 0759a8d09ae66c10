"""The route of webhooks, which other systems call without a key.

`serve/api.py` includes it. Signatures are checked by
`rillflow/runtime/triggers/webhooks/deliveries.py`.
"""
