"""Private APIs of Ray Serve: where replicas listen, and a way around its request handling.

What is patched in Serve's proxies is in ``private_apis/serve_start.py``, whose path stays.
"""
