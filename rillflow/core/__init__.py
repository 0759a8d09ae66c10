"""The state machine of executions: takes a state and an event, returns a state and commands.

`rillflow/runtime` calls `machine.py` for every event; `rillflow/testing` and dry runs call it too.
The core is pure: it knows no clock, I/O, threads, randomness, Ray or HTTP. Everything that it
decides follows from the events, so that a replay of the journal gives the same state.
"""
