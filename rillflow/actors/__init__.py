"""The Ray actors: owners of executions, dispatchers, the controller, and how to reach them.

`serve` and `rillflow/client` call them. Actors are thin: rules of execution are in
`rillflow/runtime` and `rillflow/core`.
"""
