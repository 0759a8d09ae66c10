"""Limits on requests: the size and number of bodies, waits, and failed look-ups.

The middleware and the hot routes ask them. They do not know what a request means.
"""
