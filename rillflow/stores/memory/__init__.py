"""The memory store, for tests: its data last as long as the process.

`stores/__init__.py` opens it for ``memory:``. It refuses what the durable stores refuse.
"""
