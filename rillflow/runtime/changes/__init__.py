"""Changes: telling people who watch which executions have just changed.

`feed.py` is the side of an owner, `hub.py` that of a replica. Nothing is noted while nobody
listens.
"""
