"""Starting actors, watching their start, and draining them before their end.

Used by the controller; it does not decide which actors should run.
"""
