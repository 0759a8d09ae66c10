"""The transport of a script on the stack's Ray cluster, without HTTP.

Used by ``rillflow.connect``; it is the part of the client that needs Ray.
"""
