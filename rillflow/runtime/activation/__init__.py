"""Executions in memory: activated by a call, leased to it, written, and evicted.

`runtime/owner` calls it, and nobody else holds executions. It handles no calls and carries out no
commands.
"""
