"""Connections between actors: frames, and where they are sent and received.

`rillflow/actors` calls it. It carries bytes, and does not know what a message means.
"""
