"""All code that uses private APIs of Ray, Ray Serve, uvicorn, aiokafka or HAProxy.

Used by ``rillflow.actors``, ``rillflow.client.ray_transport.driver`` and ``serve``; it knows
nothing of executions. Each module names, in ``RELIES_ON``, what it relies on, the version that it
was seen with, what happens if that changes, and a check against the installed version; a module
that starts a program (``forking/fork_server.py``, ``forking/forked_worker.py``,
``haproxy/config.py``) does so for the program. ``python -m rillflow.private_apis`` reports all of
them: run it before an upgrade of Ray.
"""
