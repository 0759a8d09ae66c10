"""The HTTP gateway: Rill Flow's requests and responses over the HTTP client.

`gateways/registry.py` calls it. Connections are the business of `gateways/http_client`.
"""
