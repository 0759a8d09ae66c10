"""Limits on requests: the size and number of bodies, waits, and failed look-ups."""
