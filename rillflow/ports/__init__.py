"""Protocols: what the runtime asks of clocks, stores, gateways and other executions."""
