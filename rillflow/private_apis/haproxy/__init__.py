"""HAProxy as Ray Serve starts it: the program in front of it, and the configuration it rewrites."""
