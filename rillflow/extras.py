"""The libraries that only ``rillflow[server]`` installs, and what needs them.

``pip install rillflow`` brings the client, the command line, validation and the testing kit.
Whatever imports one of the modules here belongs to ``rillflow[server]``.

Used by `cli/doctor/installation.py` and `cli/reporting.py`.
"""

from typing import Final

from rillflow.errors import RillflowError

SERVER_MODULES: Final = frozenset(
    {
        *("asyncpg", "fastapi", "httptools", "jsonschema", "ray", "referencing", "starlette"),
        "uvicorn",
    }
)


class MissingExtraError(RillflowError, ImportError):
    """Something needs ``rillflow[server]``, and only ``rillflow`` is installed."""


def missing_extra(error: ModuleNotFoundError) -> Exception:
    """Return the error to raise for a module that is missing: what to install, or itself."""
    module = (error.name or "").partition(".")[0]
    if module not in SERVER_MODULES:
        return error
    return MissingExtraError(
        f"this needs the server's packages ({module} is not installed):"
        " pip install 'rillflow[server]'"
    )
