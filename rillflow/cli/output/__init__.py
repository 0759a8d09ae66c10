"""What the commands print: executions, tasks, lists, progress."""
