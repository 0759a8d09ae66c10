"""What functions do not get of the environment of the server: its credentials and secrets.

A function is trusted code, but whoever reads what it returns, raises or prints is not its author:
one line that shows the environment would show the keys of the whole server.

Used by `ray_tasks/tasks.py` and `ray_tasks/jobs/server.py`.
"""

from collections.abc import Iterable, MutableMapping
from typing import Final

VARIABLES: Final = frozenset(
    {
        *("RILLFLOW_API_KEY", "RILLFLOW_STORE", "RILLFLOW_ARTIFACT_STORE"),
        *("RILLFLOW_AUTH_SECRET", "RILL_FLOW_AUTH_SECRET_KEY", "RILLFLOW_CALLBACK_KEYS"),
    }
)
"""The settings that are not shown, as variables, whose case does not matter."""
SECRET: Final = "RILLFLOW_SECRET_"  # noqa: S105 - how the names of the variables begin


def names_of_credentials(names: Iterable[str]) -> list[str]:
    """Return those of some variables that have a credential of the server, or a secret of tasks."""
    return [each for each in names if _is_credential(each.upper())]


def forget_credentials(environment: MutableMapping[str, str]) -> None:
    """Remove them from the environment of a worker, which makes nothing but calls of functions."""
    for name in names_of_credentials(list(environment)):
        del environment[name]


def _is_credential(name: str) -> bool:
    return name in VARIABLES or name.startswith(SECRET)
