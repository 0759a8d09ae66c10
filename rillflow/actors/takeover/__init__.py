"""Takeover: noticing actors that have stopped, and starting others in their place.

`actor_watch.py` notices them, `takeovers.py` starts the others. `rillflow/actors` calls both. It
does not know what an actor owns.
"""
