"""Limits of outbound calls: concurrency, rates, circuit breakers, and bytes of answers.

The HTTP gateway asks `limiter.py` before each call. The state is in memory of one dispatcher.
"""
