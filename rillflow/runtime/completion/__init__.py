"""Waiting for executions to end: one question per owner answers many callers."""
