"""The Python client: over HTTP, sync and async, and on the Ray cluster itself."""
