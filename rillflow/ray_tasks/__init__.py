"""Tasks that call Ray: functions in workers, named actors, Serve applications and jobs.

`actors/dispatcher_actor.py` registers the gateways `gateway.py` (``ray://``), `call_gateway.py`
(``ray-actor://``, ``serve://``) and `jobs` (``ray-job://``). They do not know the state
of executions.
"""
