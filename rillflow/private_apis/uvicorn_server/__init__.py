"""Private APIs of uvicorn: deadlines and limits of connections, and its timers."""
