"""The endpoints of the HTTP API, grouped by what callers want."""
