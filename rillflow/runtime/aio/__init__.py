"""Asyncio building blocks: batching, retrying, background tasks, threads, fair turns.

Every runtime package may use them. They know no executions, stores or actors.
"""
