"""Requests, responses, addresses, egress rules and settings of outbound calls.

The other gateway packages and callers of the gateways share it. It opens no connections.
"""
