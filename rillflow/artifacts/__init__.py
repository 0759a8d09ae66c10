"""Artifacts: files and large values that tasks pass to each other by small references.

Functions of the user, dispatchers and the routes of `serve/routes/artifacts.py` call it. It knows
the ids of executions, and not their state.
"""
