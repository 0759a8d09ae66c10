"""The processes of a stack on one machine, as `rillflow up` runs them.

`rillflow/cli` starts `standalone.py`. It knows processes, ports and folders, and no executions.
"""
