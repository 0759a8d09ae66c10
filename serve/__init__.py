"""The HTTP API: a Ray Serve deployment in front of the actors, and the processes of a stack.

`rillflow up` starts it. Routes translate requests into calls of `rillflow/runtime/stack.py`; they
know no state machine and no store tables.
"""
