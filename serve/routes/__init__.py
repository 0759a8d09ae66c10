"""The endpoints of the HTTP API, grouped by topic.

To add a route, add a row in `serve/route_table.py` and an endpoint here. Endpoints call
`rillflow/runtime/stack.py` and decide nothing about executions.
"""
