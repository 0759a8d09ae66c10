"""When triggers fire, and what a firing does while an earlier execution runs: pure rules.

``cron.py`` reads expressions, ``schedule.py`` computes the times of a trigger, ``overlap.py``
decides about executions that overlap. Times come from outside; nothing here waits or stores.
"""
