"""Everything that leans on the inside of Ray, Ray Serve, uvicorn or HAProxy."""
