"""Histories: the journals of executions, replayed for people who look at them.

`runtime/stack.py` has them; owners do not take part. `history.py` replays one journal, and
`cache.py` keeps a few.
"""
