"""Ray and nothing but: the actors that own executions and make calls, and the way to them."""
