"""Which actors should run, and on which nodes."""
