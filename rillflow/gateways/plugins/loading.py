"""Loading of plugins that are gateways, from installed packages and from the settings.

Used by `gateways/registry.py`, `serve/api.py` and `serve/stack/standalone.py`.
"""

import importlib
import logging
from collections.abc import Iterable, Iterator
from typing import Final

from rillflow.errors import GatewayError
from rillflow.gateways.plugins.entry_points import entry_points_of
from rillflow.gateways.plugins.gateway import GatewayPlugin
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, failed

ENTRY_POINTS: Final = "rillflow.dispatchers"

_log = logging.getLogger(__name__)


class BrokenPluginGateway:
    """Stands for an installed plugin that could not be loaded; its tasks fail with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Fail the attempt with the reason."""
        return failed(request, f"{HANDLE_FAILS}{self._reason}")

    async def close(self) -> None:
        """Nothing to release."""


def installed_plugins() -> Iterator[tuple[str, GatewayPlugin | BrokenPluginGateway]]:
    """Load the plugins of installed packages, in the order of their names.

    A package that cannot be loaded does not keep the server from starting.
    """
    for entry in entry_points_of(ENTRY_POINTS):
        try:
            plugin = _checked(entry.load(), entry.value)
        except Exception as error:  # noqa: BLE001 - importing a package may raise anything
            _log.warning("plugin.broken", extra={"plugin": entry.name}, exc_info=True)
            reason = f"plugin {entry.name} could not be loaded: {error}"
            yield entry.name, BrokenPluginGateway(reason)
        else:
            yield plugin.name, plugin


def named_plugins(names: Iterable[str]) -> Iterator[GatewayPlugin]:
    """Load plugins by ``module[:attribute]``; without an attribute, ``plugin`` or the module.

    Raises:
        GatewayError: One cannot be imported or is not a plugin, so the start fails.
    """
    for name in names:
        module_name, _, attribute = name.partition(":")
        try:
            module = importlib.import_module(module_name)
            found = getattr(module, attribute) if attribute else getattr(module, "plugin", module)
        except Exception as error:
            raise GatewayError(f"plugin {name} could not be loaded: {error}") from error
        yield _checked(found, name)


def _checked(found: object, origin: str) -> GatewayPlugin:
    plugin = found() if isinstance(found, type) else found
    named = isinstance(getattr(plugin, "name", None), str)
    if not named or not isinstance(plugin, GatewayPlugin) or not callable(plugin.handle):
        raise GatewayError(f"plugin {origin} has no name or no handle")
    return plugin
