"""Limits on requests: bodies under way, waits, failed look-ups, by client address."""
