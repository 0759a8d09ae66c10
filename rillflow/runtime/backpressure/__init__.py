"""Backpressure: which submissions are accepted, and which dispatches wait.

Replicas and owners use it before they accept a submission, and owners before they dispatch. It
calls no functions itself.
"""
