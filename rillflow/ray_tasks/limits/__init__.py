"""How many calls of Ray are under way, and how large their inputs are, at most."""
