"""Asyncio around the core, without Ray: hosting, journaling, timers, errands, dispatch."""
