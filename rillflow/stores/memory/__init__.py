"""The memory store, for tests: its data last as long as the process."""
