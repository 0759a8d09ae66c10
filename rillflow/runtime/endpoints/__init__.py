"""Endpoints: what answers the messages to the actors.

`rillflow/actors` hands their methods to its connections. They know neither sockets nor Ray.
"""
