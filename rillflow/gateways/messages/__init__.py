"""Requests, answers, addresses and settings of outbound calls, without the transport."""
