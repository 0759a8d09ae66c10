"""Connections between actors: frames, and where they are sent and received."""
