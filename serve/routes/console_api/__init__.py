"""The API of the console, version 1 (docs/console-api.md).

`serve/api.py` includes its routers. All of its routes read; steering goes through the other routes.
"""
