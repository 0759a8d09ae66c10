"""Callbacks: the addresses that functions get, and the requests that arrive at them.

`gateways/http` builds the addresses, `serve/routes/hot.py` reads the requests. It changes no
execution.
"""
