"""Asyncio code around the core, without Ray; ARCHITECTURE.md has its packages in order."""
