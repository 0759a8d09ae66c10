"""What tests give an owner of all executions in the place of dispatchers and other owners."""

from collections.abc import Sequence

from rillflow.ports.executions import Call, Reply
from rillflow.ports.gateway import DispatchRequest
from rillflow.runtime.owner.execution_owner import ExecutionOwner


class OwnExecutions:
    """Asks the owner itself for every execution, and makes no call of a function."""

    owner: ExecutionOwner

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        assert not requests

    async def ask_all(self, call: Call) -> list[Reply]:
        return [await self.call(call)]

    async def call(self, call: Call) -> Reply:
        [reply] = await self.owner.call_many([call])
        return reply
