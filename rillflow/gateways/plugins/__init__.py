"""Dispatcher plugins: the user's own gateways, found and called."""
