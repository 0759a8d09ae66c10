"""Asyncio building blocks: batching, retrying, background tasks, threads, fair turns.

All packages of the runtime may use them. They do not know executions, stores or actors.
"""
