"""Routes about access: API keys, and the audit of changes."""
