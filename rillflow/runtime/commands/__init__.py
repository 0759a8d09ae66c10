"""What the core asks for once its event is durable: dispatches, timers, sub-flows, notices."""
