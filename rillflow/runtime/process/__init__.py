"""What concerns one operating system process: its clock, logs, memory and event loop."""
