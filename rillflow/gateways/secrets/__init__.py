"""Secrets: put into calls at the last moment, and masked in what comes back."""
