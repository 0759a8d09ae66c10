"""What the journal of an execution tells of its past: events, recordings, timelines, traces."""
