"""How long an exchange of an HTTP client takes at most; it knows nothing of Rillflow."""
