"""Busy functions: what is known of them, and the dispatches that wait for them.

Owners use it before they dispatch, and admission before it accepts a submission. It calls no
functions itself.
"""
