"""Calls of ``ray-job://``: an attempt is a Ray job.

Used by `actors/dispatcher_actor.py`; it knows nothing of other Ray tasks.
"""
