"""Ray tasks that several calls share, one after the other or as one batch.

Used by `ray_tasks/gateway.py`; it knows no results.
"""
