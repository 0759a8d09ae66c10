"""When a call may go out: concurrency, rates and circuit breakers."""
