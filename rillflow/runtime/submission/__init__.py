"""Submissions from outside: the definition, the data, and the event.

HTTP routes and the Ray client call `intake.py`, which sends an ``ExecutionSubmitted`` event to the
owner.
"""
