"""The report of all private APIs that Rillflow relies on, checked against installed versions.

Used by `private_apis/__main__.py`.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final, NamedTuple

from rillflow import private_apis
from rillflow.private_apis.assumption import Assumption

PROGRAMS: Final = frozenset(
    {"forking.fork_server", "forking.forked_worker", "haproxy.config", "haproxy.program"}
)
"""Run as programs, which import next to nothing; the modules that start them speak for them."""
FRAMEWORK: Final = frozenset({"__main__", "assumption", "report"})


class Finding(NamedTuple):
    """An assumption of a module, and what is different in the installed version."""

    module: str
    assumption: Assumption
    installed: str
    differences: tuple[str, ...]


def modules() -> list[str]:
    """Return the names of the modules that rely on something."""
    prefix = f"{private_apis.__name__}."
    found = pkgutil.walk_packages(private_apis.__path__, prefix)
    names = {each.name.removeprefix(prefix) for each in found if not each.ispkg}
    return sorted(names - PROGRAMS - FRAMEWORK)


def findings() -> Iterator[Finding]:
    """Check every assumption against the installed libraries; it imports Ray."""
    for name in modules():
        module = importlib.import_module(f"rillflow.private_apis.{name}")
        for assumption in module.RELIES_ON:
            installed = version(assumption.library.partition("[")[0])
            differences = tuple(assumption.differences())
            yield Finding(name, assumption, installed, differences)
