"""What the processes of a stack measure about themselves: metrics, and how they travel.

A process keeps cheap counters (``meters.py``) of the metrics in ``metrics.py``. A replica asks all
processes for theirs (``states.py``), and `serve` shows them as Prometheus text.
"""
