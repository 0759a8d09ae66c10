"""Hooks of the user's settings: how they are loaded, and where they may veto an operation."""
