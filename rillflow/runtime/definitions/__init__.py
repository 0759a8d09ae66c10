"""Stored definitions: added, found by id, checked against an input schema, previewed.

Submissions, sub-flows and the routes of the console call it. It runs no executions.
"""
