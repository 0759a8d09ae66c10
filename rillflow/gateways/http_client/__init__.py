"""The HTTP/1.1 client of dispatchers: names, connections, and the pool of them."""
