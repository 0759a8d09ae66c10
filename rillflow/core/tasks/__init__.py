"""The categories of tasks: functions, groups (foreach, choice), and control tasks.

`core/traversal.py` starts a task here; `core/requests.py` and `core/timing.py` bring outcomes and
timers. Nothing here calls a function: a dispatch is a command.
"""
