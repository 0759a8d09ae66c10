"""The output of commands: executions, tasks, lists, progress.

`cli/commands` calls it. It reads what the client returns, and changes nothing on the server.
"""
