"""Supervision: which actors should run, and on which nodes.

The controller and the owners call it. It decides and starts through a port; it does not know Ray.
"""
