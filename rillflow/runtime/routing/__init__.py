"""Routing: from the id of an execution to its owner.

The actors' directory builds it; submissions, callbacks and queries go through it. It reads no
store.
"""
