"""Calls of a plugin that hang leave threads to the calls of other workspaces."""

import asyncio
import threading
from typing import Any, Final

from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.plugins.gateway import MOST_THREADS, PluginGateway
from tests.loopback import StoppedClock, attempt

WAIT_S: Final = 60.0


class Hanging:
    """A plugin whose calls hang for one workspace until they may end."""

    name = "plugin"

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def handle(self, resource: Any, dispatch_info: Any) -> str:
        del resource
        if dispatch_info.execution_id.startswith("many:") and not self.may_end.wait(WAIT_S):
            raise TimeoutError
        return "{}"


async def test_calls_of_a_workspace_that_hang_leave_threads_to_others() -> None:
    plugin = Hanging()
    gateway = PluginGateway(plugin, HttpSettings(call_timeout_s=2 * WAIT_S), StoppedClock())

    def call(workspace: str, number: int) -> Any:
        execution_id = f"{workspace}:f_c_{number}"
        request = attempt("plugin://x", execution_id=execution_id, task=f"t{number}")
        return asyncio.ensure_future(gateway.call(request))

    many = [call("many", number) for number in range(2 * MOST_THREADS)]
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S / 2):
        assert [(await call("few", number)).error for number in range(5)] == 5 * [None]
    plugin.may_end.set()
    assert {answer.error for answer in await asyncio.gather(*many)} == {None}
    await gateway.close()
