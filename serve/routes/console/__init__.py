"""The endpoints for Rill Flow's web console: definitions, rules, lists and templates.

`serve/api.py` includes them. They read the store and the catalogue, and start no executions.
"""
