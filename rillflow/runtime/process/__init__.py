"""One operating system process: its clock, logs, memory, event loop and readiness.

Actors and replicas set these up at their start. The modules know no executions.
"""
