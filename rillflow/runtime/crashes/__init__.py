"""Executions whose handling fails or kills its process: counted, retried, quarantined."""
