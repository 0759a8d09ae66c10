"""Deploying on a cluster: the wanted state is recorded, and a controller carries it out.

Each replica of the HTTP API does this when it starts; the first one of a deployment changes
something, and the others find it done.

Used by `serve/api.py`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import ray

from rillflow.actors.controller_actor import ControllerActor
from rillflow.actors.directory import ACTOR_OPTIONS, find_actor
from rillflow.actors.lifecycle.launch import refuse_sqlite_on_many_nodes
from rillflow.actors.names import CONTROLLER_ACTOR, DIRECTORY_ACTOR
from rillflow.actors.placing import owners
from rillflow.actors.ray_context import environment_digest, holder_of, preloading
from rillflow.errors import StoreError, UnavailableError
from rillflow.ports.cluster import ActorReport, ControllerReport
from rillflow.ports.deployment import Deployment, protocol_of, refuse_distant
from rillflow.ports.storage.store import Store
from rillflow.ray_tasks.exports import actor_class
from rillflow.runtime.supervision.deployed import record
from rillflow.runtime.supervision.store_lease import StoreLease
from rillflow.settings import Settings
from rillflow.stores import open_store

log = logging.getLogger("rillflow.deploying")

PATIENCE_S: Final = 120.0
"""How long the execution actors may take until they own the partitions that are wanted."""
ANSWER_S: Final = 10.0
PAUSE_S: Final = 0.1
MARKS: Final = 3
"""How often a controller is asked for a mark that another replica may have replaced."""
# Where Ray's own controllers are: a node that comes and goes should not have this one.
_ON_THE_HEAD: Final = {"node:__internal_head__": 0.001}


async def deploy(
    settings: Settings,
    store: Store,
    *,
    patience_s: float = PATIENCE_S,
    deployed: Callable[[], str] = str,
) -> Deployment:
    """Have what settings ask for run on this Ray cluster; ``store`` is open.

    Returns once the execution actors own their partitions; other actors may still be replaced.

    Args:
        settings: What is asked for.
        store: Theirs.
        patience_s: How long the execution actors may take.
        deployed: Returns what tells this deployment from others, the same for each try of it. It
            is asked if the store has changed: then a deployment that was refused stays so.

    Raises:
        StoreError: The store cannot serve a cluster of this size, another deployment holds it, or
            it is another one than that of the actors that run, which have unfinished executions.
        ProtocolError: The actors that run are of a release too far from this one.
        UnavailableError: The execution actors do not get ready in time; the message says why.
    """
    refuse_sqlite_on_many_nodes(settings)
    lease = StoreLease(store, await asyncio.to_thread(holder_of, settings))
    async with _refused_if_unusable(settings, deployed):
        is_new = await lease.acquire(settings.take_over)
    try:
        running = await _running(settings)
        if running is not None:
            running = await _leave_other_store(settings, store, running, lease, deployed)
    except BaseException:
        if is_new:
            await lease.give_up()
        raise
    wanted = await record(settings, store, running, environment_digest())
    controller = await _controller(settings, wanted)
    await _until_owned(settings, wanted, controller, patience_s)
    return wanted


def deploy_and_wait(settings: Settings, deployed: Callable[[], str] = str) -> None:
    """Deploy as ``deploy`` does, from code that no event loop can wait for.

    Raises:
        RillflowError: As ``deploy``, or the store cannot be opened.
    """

    async def deploy_on_store() -> None:
        if ray.is_initialized():  # a question would start it
            await _running(settings)  # before this release upgrades the store of a distant one
        async with _refused_if_unusable(settings, deployed):
            store = await _opened_store(settings)
        try:
            await deploy(settings, store, deployed=deployed)
        finally:
            await store.close()

    # The constructor of a replica is called by a running loop, which another one cannot run in.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="rillflow-deploy") as thread:
        thread.submit(asyncio.run, deploy_on_store()).result()


@asynccontextmanager
async def _refused_if_unusable(
    settings: Settings, deployed: Callable[[], str]
) -> AsyncIterator[None]:
    """Have a controller refuse later tries of this deployment if its store cannot be used now.

    Serve tries again by itself. If the store is that of the controller, nobody is refused: it only
    decides about another one.

    Raises:
        StoreError: The body raised it.
    """
    try:
        yield
    except StoreError:
        if ray.is_initialized():  # a question would start it
            await _have_refused(settings, deployed)
        raise


async def _have_refused(settings: Settings, deployed: Callable[[], str]) -> None:
    with suppress(ray.exceptions.RayError, TimeoutError):
        controller = await find_actor(settings, CONTROLLER_ACTOR)
        if controller is not None and hasattr(controller, "refuse_store"):
            told = await asyncio.to_thread(deployed)
            await asyncio.wait_for(controller.refuse_store.remote(told), ANSWER_S)


async def _opened_store(settings: Settings) -> Store:
    """Open the store; Serve shows the last line of the error to whoever deploys.

    Raises:
        StoreError: It cannot be opened; the setting is named.
    """
    try:
        store = open_store(settings.store_url)
        await store.open()
    except StoreError as error:
        where = "RILLFLOW_STORE" if settings.store else "RILLFLOW_DATA_DIR"
        raise StoreError(
            f"the store cannot be used ({where}): {error}; correct the deployment file, look from"
            " every node with `rillflow cluster check`, and deploy again"
        ) from None
    return store


async def _running(settings: Settings) -> Deployment | None:
    """Return what the controller, or else the first execution actor, was started with.

    Raises:
        ProtocolError: It is of a release too far from this one.
    """
    for name, ask in ((CONTROLLER_ACTOR, "deployment"), (DIRECTORY_ACTOR, "report")):
        actor = await find_actor(settings, name)
        if actor is None or not hasattr(actor, ask):
            continue
        try:
            answer = await asyncio.wait_for(getattr(actor, ask).remote(), ANSWER_S)
        except (ray.exceptions.RayError, TimeoutError):
            continue
        running = answer.deployment if isinstance(answer, ActorReport) else answer
        if running is not None:
            refuse_distant(protocol_of(running.code_version), f"what runs ({running.code_version})")
        return running
    return None


async def _leave_other_store(
    settings: Settings,
    store: Store,
    running: Deployment,
    lease: StoreLease,
    deployed: Callable[[], str],
) -> Deployment | None:
    """End actors on another store that has nothing left to do; return what goes on running.

    Raises:
        StoreError: It has, or had when an earlier try of this deployment was refused.
    """
    stored = await store.deployment()
    if (
        stored is not None
        and stored.store_id == running.store_id
        and await _is_that_of_the_controller(settings, lease)
    ):
        return running
    controller = await find_actor(settings, CONTROLLER_ACTOR)
    left = "executions may not have ended there"
    if controller is not None:
        left = await _refusal(controller, deployed)
    if not left:
        log.warning("store_changed")
        return None
    raise StoreError(
        "the store has changed: the actors of this cluster use another one than RILLFLOW_STORE"
        f" names now, and {left}. Nothing was changed, and this deployment stays refused. Set"
        " RILLFLOW_STORE back and deploy; once all executions there have ended or are cancelled,"
        " name the other store and deploy again"
    )


async def _refusal(controller: Any, deployed: Callable[[], str]) -> str:
    """Have a controller end the actors; return why it does not, and nothing if it does.

    Raises:
        StoreError: Its store cannot be opened, or read.
    """
    if hasattr(controller, "leave_store"):
        told: str = await controller.leave_store.remote(await asyncio.to_thread(deployed))
        return told
    unfinished: int | None = await controller.end_if_idle.remote()  # It is of an earlier release.
    if unfinished == 0:
        return ""
    return f"{'' if unfinished is None else f'{unfinished} '}executions had not ended there"


async def _is_that_of_the_controller(settings: Settings, lease: StoreLease) -> bool:
    """Tell whether the controller sees the mark in its store that this process left in its own.

    A copy of a store has the same id. Where nobody can tell, it is the same one: its address may
    have changed, because the old one does not answer any more.
    """
    controller = await find_actor(settings, CONTROLLER_ACTOR)
    if controller is None or not hasattr(controller, "sees"):
        return True
    for _ in range(MARKS):
        try:
            if await asyncio.wait_for(controller.sees.remote(lease.mark), ANSWER_S):
                return True
        except (ray.exceptions.RayError, TimeoutError):
            return True
        await lease.acquire()  # Another replica may have left its mark since.
    return False


async def _controller(settings: Settings, wanted: Deployment) -> Any:
    """Return a controller that wants this, or what came later; one of earlier ends.

    Raises:
        UnavailableError: None starts.
    """
    # The actors inherit the runtime environment of the controller, which starts them.
    first = await asyncio.to_thread(preloading)
    options = {**ACTOR_OPTIONS, "resources": _ON_THE_HEAD, **first}
    named = actor_class(ControllerActor).options(
        name=CONTROLLER_ACTOR, namespace=settings.namespace, **options
    )
    give_up = time.monotonic() + PATIENCE_S
    cause = "it does not answer"
    while (left_s := give_up - time.monotonic()) > 0:
        controller = await asyncio.to_thread(named.remote, settings, wanted)
        try:
            held = await asyncio.wait_for(controller.deployment.remote(), left_s)
            if held.version >= wanted.version and held.store_id == wanted.store_id:
                return controller
            log.warning("controller_replaced", extra={"before": held.version})
            await asyncio.to_thread(ray.kill, controller)
        except TimeoutError:
            break
        except ray.exceptions.RayError as error:
            # The name may lead to the old one until Ray has heard of its end.
            cause = str(error).strip().splitlines()[-1]
        await asyncio.sleep(PAUSE_S)
    raise UnavailableError(f"the controller does not start within {PATIENCE_S:g} s: {cause}")


async def _until_owned(
    settings: Settings, wanted: Deployment, controller: Any, patience_s: float
) -> None:
    """Wait until every execution actor has the wanted partition map, or a later one.

    Raises:
        UnavailableError: That takes too long.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    waiting = owners(settings)
    while waiting:
        if loop.time() > give_up:
            report: ControllerReport = await controller.report.remote()
            messages = (reason.message for reason in report.reasons)
            reasons = "; ".join([*messages, *report.causes])
            raise UnavailableError(
                f"version {wanted.version} of the deployment does not run after {patience_s:g} s:"
                f" {reasons or 'the log of the controller says why'}"
            )
        owned = await asyncio.gather(*(_owns(settings, name, wanted) for name in waiting))
        waiting = [name for name, done in zip(waiting, owned, strict=True) if not done]
        if waiting:
            await asyncio.sleep(PAUSE_S)


async def _owns(settings: Settings, name: str, wanted: Deployment) -> bool:
    actor = await find_actor(settings, name)
    if actor is None or not hasattr(actor, "report"):
        return False
    try:
        report = await asyncio.wait_for(actor.report.remote(), ANSWER_S)
    except (ray.exceptions.RayError, TimeoutError):
        return False
    deployed = report.deployment
    return (
        report.is_ready
        and deployed is not None
        and deployed.store_id == wanted.store_id
        and deployed.partition_map >= wanted.partition_map
    )
