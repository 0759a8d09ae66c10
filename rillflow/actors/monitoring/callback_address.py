"""Has `serve status` tell of an address for callbacks that does not answer.

Serve has no text for an application all of whose replicas run. So the controller has it run another
application for as long as the execution actors find that the address does not answer. The only
replica of it does not start: its error is the sentence, and the status of the application is
DEPLOY_FAILED. The application that answers requests has no part in that.

Used by `actors/controller_actor.py`.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ray import serve

from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.private_apis.ray_serve.clients import forget_client

log = logging.getLogger("rillflow.controller")

AGAIN_S: Final = 20.0
"""How long what was shown is taken to be there, and an error of Serve to last."""
API: Final = "rillflow-api"
"""The deployment of Serve that answers requests."""
KUBERNETES: Final = "KUBERNETES_SERVICE_HOST"
"""Set in each pod. KubeRay leads requests to a cluster once all its applications run."""


def silent_address(seen: Sequence[ObservedActor], owners: Collection[str]) -> str | None:
    """Return the address for callbacks that does not answer.

    Args:
        seen: The actors, as they were found.
        owners: The names of the execution actors.

    Returns:
        The address, as an execution actor has found it. Empty if all of them have reached theirs,
        and None while one does not know yet: it has just been started, or does not answer.
    """
    told = {each.running.name: each.description for each in seen}
    found = [told.get(name) for name in sorted(owners)]
    silent = next((each.unreachable for each in found if each and each.unreachable), "")
    return silent if silent or all(each and each.is_reached for each in found) else None


class CallbackAddress:
    """Shows the address in `serve status`, or takes it away, when the execution actors say so."""

    def __init__(
        self,
        namespace: str,
        show: Callable[[str, str], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show it beside the application of a namespace, by ``show(name, sentence)``."""
        self._show = show or show_in_serve
        self._name = name_of_application(namespace)
        self._now_s = now_s
        self._asked: str | None = None
        self._failed = False
        self._until_s = 0.0
        self._showing: asyncio.Task[None] | None = None

    def look(self, seen: Sequence[ObservedActor], owners: Collection[str]) -> None:
        """Begin to show what has changed; it does not wait for Serve."""
        address = silent_address(seen, owners)
        is_busy = self._showing is not None and not self._showing.done()
        if address is None or is_busy or KUBERNETES in os.environ:
            return
        stays = self._now_s() < self._until_s or not (address or self._failed)
        if address == self._asked and stays:
            return
        self._asked, self._until_s = address, self._now_s() + AGAIN_S
        self._showing = asyncio.create_task(self._tell(address), name="serve status")

    async def _tell(self, address: str) -> None:
        try:
            await asyncio.to_thread(self._show, self._name, sentence_of(address))
            self._failed = False
        except Exception:
            log.exception("serve_status_not_told", extra={"url": address})
            self._failed = True


def name_of_application(namespace: str) -> str:
    """Return the name under which `serve status` has the sentence."""
    return f"{namespace}-callback-address"


def sentence_of(address: str) -> str:
    """Return what is wrong with an address and what to do; nothing for no address."""
    if not address:
        return ""
    return (
        f"the address for callbacks {address} does not answer, so results of asynchronous functions"
        " do not arrive: correct RILLFLOW_SERVER_HOST or RILLFLOW_CALLBACK_HOST, or see that it"
        " leads to this deployment"
    )


def show_in_serve(name: str, sentence: str) -> None:
    """Have an application of Serve show a sentence, or end it if there is none; it may block.

    Where it shows that sentence already, nothing is done, nor where Serve has no application of
    Rillflow: it is about to end then, or was started for others.
    """
    forget_client()
    applications = serve.status().applications
    shown = applications.get(name)
    if not sentence:
        if shown is not None:
            serve.delete(name)
        return
    if shown is not None and any(sentence in each.message for each in shown.deployments.values()):
        return
    if any(API in each.deployments for each in applications.values()):
        _run(name, sentence)


def _run(name: str, sentence: str) -> None:
    class CallbackAddress:  # sent by value: no process imports Rillflow for it
        def __init__(self) -> None:
            raise ConnectionError(sentence) from None

    told = serve.deployment(
        name="callback-address",
        max_constructor_retry_count=1,
        # An environment of its own: no process that waits for an actor of Rillflow is taken.
        ray_actor_options={"num_cpus": 0, "runtime_env": {}},
        logging_config={"log_level": "CRITICAL"},
    )
    serve.run_many(
        [serve.RunTarget(told(CallbackAddress).bind(), name=name, route_prefix=None)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
