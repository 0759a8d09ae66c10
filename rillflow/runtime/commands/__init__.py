"""Carrying out the commands of the core once their event is durable.

`runtime/owner` hands commands over. Their results come back to it as calls: this package never
changes the state of an execution.
"""
