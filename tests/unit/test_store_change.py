"""A deployment on another store that was refused stays refused, whatever Serve tries by itself.

Serve starts a replica that fails again and again, also once the executions on the store in use have
ended; by then it may have given the deployment up, and replicas of two stores would go on.
"""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import ray

from rillflow.actors import deployment
from rillflow.actors.controller_actor import ControllerActor
from rillflow.actors.lifecycle.store_change import StoreChange
from rillflow.errors import StoreError
from rillflow.ports.storage.lease import DeploymentName
from rillflow.runtime.supervision.store_lease import StoreLease
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore

FIRST: Final = "rillflow 1764374400.5"
NEXT: Final = "rillflow 1764374460.5"


class Controller(ControllerActor):
    """One of a store on which so many executions have not ended, and without actors."""

    def __init__(self, unfinished: int, lease: StoreLease | None = None) -> None:
        self.unfinished = unfinished
        self._lease = lease
        self.ends = 0
        self._cause = ""
        self._store_change = StoreChange(self.end_if_idle, lambda: self._lease)
        reports: Any = SimpleNamespace(take=self._taken)
        self._reports = reports
        self._started = asyncio.create_task(asyncio.sleep(0))
        self._running = asyncio.create_task(self._run())

    async def _unfinished(self) -> int:
        if self.unfinished < 0:
            raise StoreError("it does not answer")
        return self.unfinished

    async def _taken(self) -> list[Any]:
        self.ends += 1
        return []

    async def _run(self, after_s: float = 0.0) -> None:
        """There is nothing to converge on."""


async def test_a_refusal_holds_after_the_executions_have_ended_until_somebody_deploys_again() -> (
    None
):
    controller = Controller(3)
    refused = await controller.leave_store(FIRST)
    assert refused == "3 executions had not ended there when this was deployed"
    controller.unfinished = 0
    for _ in range(3):
        assert await controller.leave_store(FIRST) == refused
    assert controller.ends == 0
    assert await controller.leave_store(NEXT) == ""
    assert controller.ends == 1


async def test_replicas_of_a_deployment_that_is_not_refused_all_go_on() -> None:
    controller = Controller(0)
    assert [await controller.leave_store(FIRST) for _ in range(3)] == ["", "", ""]


async def test_of_replicas_that_start_at_once_all_hear_of_the_refusal_of_the_first() -> None:
    controller = Controller(1)
    counted = asyncio.Event()

    async def count() -> int:
        await counted.wait()
        controller.unfinished -= 1
        return controller.unfinished + 1

    controller._unfinished = count  # type: ignore[method-assign]
    replicas = [asyncio.create_task(controller.leave_store(FIRST)) for _ in range(2)]
    await asyncio.sleep(0)
    counted.set()
    told = "1 executions had not ended there when this was deployed"
    assert await asyncio.gather(*replicas) == [told, told]
    assert controller.ends == 0


async def test_a_store_that_could_not_be_read_is_not_left_by_itself_either() -> None:
    controller = Controller(-1)
    with pytest.raises(StoreError):
        await controller.leave_store(FIRST)
    controller.unfinished = 0
    assert "nobody could tell" in await controller.leave_store(FIRST)
    assert await controller.leave_store(NEXT) == ""


async def _held() -> StoreLease:
    """Return the lease that the controllers of a deployment hold, one after the other."""
    store = MemoryStore()
    await store.open()
    lease = StoreLease(store, DeploymentName("one", "at one"))
    await lease.acquire()
    return lease


async def test_a_refusal_holds_in_the_next_process_of_the_controller() -> None:
    lease = await _held()
    assert await Controller(3, lease).leave_store(FIRST)
    await lease.renew()
    following = Controller(0, lease)
    assert await following.leave_store(FIRST) == "this deployment was refused before"
    assert following.ends == 0
    assert await following.leave_store(NEXT) == ""
    assert following.ends == 1


async def test_a_deployment_whose_store_could_not_be_used_is_refused_in_all_its_tries() -> None:
    lease = await _held()
    controller = Controller(0, lease)
    await controller.refuse_store(FIRST)
    told = "it could not be used when this was deployed"
    assert await controller.leave_store(FIRST) == told
    assert await Controller(0, lease).leave_store(FIRST) == "this deployment was refused before"
    assert controller.ends == 0
    assert await controller.leave_store(NEXT) == ""


async def test_who_has_lost_the_store_writes_no_refusal_into_it() -> None:
    lease = await _held()
    await lease.give_up()
    await Controller(3, lease).leave_store(FIRST)
    assert await lease.refused() == ""


class Handle:
    """A controller as another process sees it: what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuse_store = SimpleNamespace(remote=self._refuse)

    async def _refuse(self, deployed: str) -> None:
        self.told.append(deployed)


async def test_a_store_that_cannot_be_opened_is_told_to_the_controller_that_runs(
    tmp_path: Path,
) -> None:
    handle = Handle()

    async def find(settings: Settings, name: str) -> Handle:
        del settings, name
        return handle

    (tmp_path / "file").touch()
    settings = Settings(store=f"sqlite://{tmp_path}/file/below.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployment, "find_actor", find)
        patch.setattr(ray, "is_initialized", lambda: True)
        with pytest.raises(StoreError, match="the store cannot be used"):
            await asyncio.to_thread(deployment.deploy_and_wait, settings, lambda: FIRST)
    assert handle.told == [FIRST]


async def test_without_serve_a_refusal_holds_until_the_executions_have_ended() -> None:
    controller = Controller(1)
    assert await controller.leave_store("")
    controller.unfinished = 0
    assert await controller.leave_store("") == ""
