"""The HTTP gateway: Rill Flow's requests and responses over the HTTP client."""
