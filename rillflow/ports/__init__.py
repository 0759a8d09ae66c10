"""Ports: the protocols between layers, and the data that travels between processes.

The runtime states them; actors, gateways and stores implement them. It has no code that does I/O.
"""
