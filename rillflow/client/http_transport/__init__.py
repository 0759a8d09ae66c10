"""The transport of clients over HTTP: requests, answers and errors.

Used by `client/clients.py` and the command line; it knows no Ray.
"""
