"""The stack on Ray: joins the operations of callers to the actors of a cluster.

The HTTP API, the Ray client and benchmarks call it.

Used by `client/ray_transport/driver.py` and `serve/api.py`.
"""

from rillflow.actors.cluster import RayCluster
from rillflow.actors.execution_actor import ray_executions
from rillflow.actors.monitoring.dispatchers import RayDispatchers
from rillflow.actors.monitoring.event_loops import RayEventLoops
from rillflow.actors.monitoring.process_meters import RayProcessMeters
from rillflow.actors.readiness import ray_readiness
from rillflow.actors.task_logs import RayTaskLogs
from rillflow.runtime.stack import Stack
from rillflow.settings import Settings
from rillflow.stores import open_store


def ray_stack(settings: Settings) -> Stack:
    """Join the stack that runs on this Ray cluster with these settings.

    Raises:
        RequestError: The ``context_hook`` of the settings cannot be loaded.
    """
    store = open_store(settings.store_url, large_value_bytes=settings.large_value_bytes)
    executions = ray_executions(settings, store)
    stack = Stack(
        settings,
        store=store,
        executions=executions,
        dispatchers=RayDispatchers(settings),
        loops=RayEventLoops(settings),
        cluster=RayCluster(settings, store),
        readiness=ray_readiness(settings, store),
        task_logs=RayTaskLogs(),
        process_meters=RayProcessMeters(settings),
    )
    stack.submissions.suits = executions.suits
    return stack
