"""Hooks of the user: how they are loaded, and where they may veto an operation.

Owners, submissions and the command runner call them. A hook cannot change an operation.
"""
