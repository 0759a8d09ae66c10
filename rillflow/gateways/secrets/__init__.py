"""Secrets: inserted into calls just before they are sent, and masked in answers.

`gateways/registry.py` uses it for calls, `serve/routes/hot.py` for callbacks. No other code sees a
secret.
"""
