"""Asyncio code around the core: time, storage, batching, routing and recovery; without Ray.

`rillflow/actors` hosts it in processes, and `local.py` runs it in one process for tests.
ARCHITECTURE.md lists its packages in the order of their imports.
"""
