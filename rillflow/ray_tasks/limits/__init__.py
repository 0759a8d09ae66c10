"""How many calls of Ray are under way, and how large their inputs are, at most.

The gateways of `rillflow/ray_tasks` ask it before each call. It starts nothing in Ray.
"""
