"""Routes for monitoring: health checks, metrics, actors, event loops, overload protection."""
