"""Running tasks, and what follows them, again."""
