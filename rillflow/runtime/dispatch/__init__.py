"""Calls on their way to dispatchers, and the pool that makes them."""
