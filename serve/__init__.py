"""The HTTP API: a Ray Serve deployment in front of the actors."""
