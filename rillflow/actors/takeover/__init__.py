"""Others take over from actors that have stopped: who has, and how they are replaced."""
