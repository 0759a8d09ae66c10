"""Redo: running tasks, and the tasks that follow them, again.

`core/machine.py` calls `requested.py` for a redo, and `reopening.py` when a sub-flow reports one.
"""
