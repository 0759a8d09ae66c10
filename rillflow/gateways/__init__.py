"""Adapters behind the Gateway port: HTTP, plugins, and what comes back by callback."""
