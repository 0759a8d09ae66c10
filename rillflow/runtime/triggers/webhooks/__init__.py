"""Webhooks: requests of other systems that start executions.

Used by the routes of `serve`; it knows no HTTP server.
"""
