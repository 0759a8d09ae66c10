"""The output of commands: executions, tasks, lists, progress."""
