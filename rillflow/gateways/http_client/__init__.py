"""The HTTP/1.1 client of dispatchers: name resolution, connections, and their pool.

`gateways/http` uses it through `transport.py`. It knows no tasks and no rules of Rill Flow.
"""
