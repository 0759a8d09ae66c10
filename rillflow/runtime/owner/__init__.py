"""The owner of a set of executions: it takes calls in batches, journals them, then acts."""
