"""The store of tests: it lives as long as its process."""
