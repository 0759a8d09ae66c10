"""Artifacts: files and large values that tasks pass to each other by small references."""
