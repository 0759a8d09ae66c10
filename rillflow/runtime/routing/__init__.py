"""The way from the id of an execution to its owner."""
