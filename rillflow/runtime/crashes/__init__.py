"""Executions whose handling fails or kills its process: counted, retried, quarantined.

`runtime/owner` asks it before and after each step. It does not read journals and does not handle
events.
"""
