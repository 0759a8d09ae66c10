"""Texts that are read as values: literals, tolerant JSON, and scanning."""
