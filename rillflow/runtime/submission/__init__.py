"""Submissions from outside: whether one is taken now, and as what."""
