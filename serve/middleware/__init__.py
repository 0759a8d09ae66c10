"""ASGI middleware that every request passes before its route.

`serve/api.py` puts it in front of the routes. It does not know what a route does.
"""
