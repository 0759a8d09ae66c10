"""The Python client: over HTTP, sync and async, and on the Ray cluster itself.

The command line and users' programs call it. Only `ray_transport` imports Ray.
"""
