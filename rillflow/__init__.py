"""Rillflow: Rill Flow workflows of serverless functions, run by durable actors on Ray.

::

    import rillflow

    with rillflow.Client("http://127.0.0.1:8080") as client:
        client.add("examples/quickstart.yaml")
        execution = client.submit("examples:quickstart", {"name": "Bob"})
        print(execution.result(timeout_s=60))

Names are imported when they are first used, so that ``import rillflow`` is cheap and
brings neither Ray nor an HTTP library along.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rillflow import errors, flow, testing
    from rillflow.artifacts.artifact import Artifact
    from rillflow.client.clients import AsyncClient, Client
    from rillflow.client.executions import AsyncExecution, Execution
    from rillflow.client.mapping_warnings import MappingWarning
    from rillflow.client.operations import ListedExecution
    from rillflow.client.ray_transport.driver import connect, connect_async
    from rillflow.client.watching import TaskChange
    from rillflow.progress_reports import progress

__all__ = [
    "Artifact",
    "AsyncClient",
    "AsyncExecution",
    "Client",
    "Execution",
    "ListedExecution",
    "MappingWarning",
    "TaskChange",
    "connect",
    "connect_async",
    "errors",
    "flow",
    "progress",
    "testing",
]

_MODULES: Final = {
    "Artifact": "rillflow.artifacts.artifact",
    "AsyncClient": "rillflow.client.clients",
    "AsyncExecution": "rillflow.client.executions",
    "Client": "rillflow.client.clients",
    "Execution": "rillflow.client.executions",
    "ListedExecution": "rillflow.client.operations",
    "MappingWarning": "rillflow.client.mapping_warnings",
    "TaskChange": "rillflow.client.watching",
    "connect": "rillflow.client.ray_transport.driver",
    "connect_async": "rillflow.client.ray_transport.driver",
    "errors": "",
    "flow": "",
    "progress": "rillflow.progress_reports",
    "testing": "",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    defined_in = _MODULES.get(name)
    if defined_in is None:
        raise AttributeError(f"module 'rillflow' has no attribute {name!r}")
    module = defined_in or f"rillflow.{name}"
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise importlib.import_module("rillflow.extras").missing_extra(error) from error
    value = getattr(found, name) if defined_in else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, used or not."""
    return sorted({*globals(), *__all__})
