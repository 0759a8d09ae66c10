"""Executions in memory: activated by a call, leased to it, written, and passivated."""
