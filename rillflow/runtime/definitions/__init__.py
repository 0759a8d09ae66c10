"""Stored definitions: added, found by id, checked against an input schema, previewed."""
