"""Lists the running actors of a stack, and collects their status reports.

Used by `actors/cluster.py` and `actors/controller_actor.py`.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import ray

from rillflow.actors.directory import names_of_actors
from rillflow.actors.names import dedicated_actor_name, kind_of
from rillflow.errors import StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.cluster import (
    ActorDescription,
    ActorReport,
    decode_description,
    protocol_of_report,
)
from rillflow.ports.deployment import UNSAID
from rillflow.ports.readiness import Reason
from rillflow.private_apis.ray_core.state import place_of
from rillflow.runtime.supervision.convergence import DEDICATED, Kind, Running

log = logging.getLogger("rillflow.controller")

ANSWER_S: Final = 2.0
"""How long an actor may take to report; one that takes longer is silent."""
SILENT_S: Final = 20.0
"""How long an actor may be silent, or not get ready, before it is ended; doubled each time."""
LONGEST_SILENT_S: Final = 600.0
ALARM_S: Final = 60.0
ALARM_TIMES: Final = 3
"""So many restarts, or fencings, of one actor within a minute are an alarm."""
MOST_RECENT: Final = 100
RESTARTS: Final = "actor_restarts"
FENCINGS: Final = "actor_fenced"
ENDS: Final = {
    RESTARTS: "has died, or has not started,",
    FENCINGS: "has lost its partitions to another owner, and ended,",
}
"""What alarms say, by their codes."""


class ObservedActor(NamedTuple):
    """An actor as it was found; ``report`` is None where it has not answered.

    ``known_id`` is the execution of a dedicated actor, as it has said earlier, or from the store.
    """

    running: Running
    actor: Any
    report: ActorReport | None
    description: ActorDescription | None = None
    known_id: ExecutionId | None = None

    @property
    def node(self) -> str:
        """The node that it is on, empty when that is not known."""
        return self.report.node if self.report is not None else ""

    @property
    def execution_id(self) -> ExecutionId | None:
        """The one execution of a dedicated actor."""
        return self.report.execution_id if self.report is not None else self.known_id


class Reports:
    """Asks all actors of a namespace for their reports, and remembers restarts and silence."""

    def __init__(
        self,
        namespace: str,
        unfinished: Callable[[], Awaitable[Sequence[ExecutionId]]] | None = None,
    ) -> None:
        """Ask the actors of a namespace.

        Args:
            namespace: That of the stack.
            unfinished: Returns the dedicated executions that have not ended, by which actors are
                known that have never answered.
        """
        self._namespace = namespace
        self._unfinished = unfinished
        self._lives: dict[str, str] = {}
        self._restarts: Counter[str] = Counter()
        self._fencings: Counter[str] = Counter()
        self._recent: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._silent_since_s: dict[str, float] = {}
        self._patience_s: dict[str, float] = {}
        self._dedicated: dict[str, ExecutionId] = {}

    async def take(self) -> list[ObservedActor]:
        """Ask everybody; the order is that of the names."""
        names = sorted(await asyncio.to_thread(names_of_actors, self._namespace))
        kinds = [(name, kind) for name in names if (kind := kind_of(name)) is not None]
        found = await asyncio.gather(*(self._look_at(name, kind) for name, kind in kinds))
        seen = [each for each in found if each is not None]
        unknown = [each for each in seen if _is_unknown(each)]
        if unknown and self._unfinished is not None:
            known = await _ids_of(unknown, self._unfinished)
            seen = [
                each._replace(known_id=known.get(each.running.name, each.known_id)) for each in seen
            ]
        self._note(seen)
        return seen

    def expect(self, name: str) -> None:
        """Know that an actor is about to be ended, so that this is no restart."""
        self._lives.pop(name, None)

    def given_up(self) -> list[str]:
        """Return the actors that have been silent for too long."""
        now_s = time.monotonic()
        return [
            name
            for name, since_s in self._silent_since_s.items()
            if now_s - since_s > self._patience_s.get(name, SILENT_S)
        ]

    def give_time(self, name: str) -> None:
        """Give the next process of an actor that was silent more time than this one."""
        patience_s = self._patience_s.get(name, SILENT_S)
        self._patience_s[name] = min(2 * patience_s, LONGEST_SILENT_S)
        self._silent_since_s.pop(name, None)

    def restarts(self) -> dict[str, int]:
        """Return how often each actor has died, as far as that was seen."""
        return dict(self._restarts)

    def note_restart(self, name: str) -> None:
        """Count an actor that has died, or has not started, without having been ended."""
        self._restarts[name] += 1
        self._note_recent(name, RESTARTS)

    def note_fencing(self, name: str) -> None:
        """Count an actor that ends because another owner has taken its partitions."""
        self._fencings[name] += 1
        self._note_recent(name, FENCINGS)

    def fencings(self) -> dict[str, int]:
        """Return how often each actor has ended so."""
        return dict(self._fencings)

    def alarms(self) -> list[Reason]:
        """Tell of actors that end over and over."""
        since_s = time.monotonic() - ALARM_S
        counts = {key: sum(at_s > since_s for at_s in times) for key, times in self._recent.items()}
        return [
            Reason(code, f"{name} {ENDS[code]} {count} times within a minute; its log says more")
            for (name, code), count in counts.items()
            if count >= ALARM_TIMES
        ]

    def _note_recent(self, name: str, code: str) -> None:
        recent = self._recent[name, code]
        recent.append(time.monotonic())
        if len(recent) > MOST_RECENT:
            recent.popleft()

    async def _look_at(self, name: str, kind: Kind) -> ObservedActor | None:
        try:
            actor = await asyncio.to_thread(ray.get_actor, name, namespace=self._namespace)
        except ValueError:
            return None
        if not hasattr(actor, "report"):  # of a release that does not report
            return ObservedActor(Running(name, kind, None), actor, None)
        try:
            description = await _described(actor)
        except ray.exceptions.ActorDiedError:
            return None
        except (ray.exceptions.RayError, TimeoutError):
            silent = Running(name, kind, None, is_silent=True, is_ready=False)
            return ObservedActor(silent, actor, None, known_id=self._dedicated.get(name))
        report = description.report
        running = Running(
            name,
            kind,
            report.deployment,
            is_ready=report.is_ready,
            code_version=report.code_version,
        )
        return ObservedActor(running, actor, report, description)

    def _note(self, seen: list[ObservedActor]) -> None:
        now_s = time.monotonic()
        silent = {
            each.running.name
            for each in seen
            # Of one that nobody knows, nobody knows what the next one is to execute.
            if each.running.is_silent and (each.running.kind != DEDICATED or each.known_id)
        }
        self._dedicated = {
            each.running.name: each.execution_id for each in seen if each.execution_id is not None
        }
        self._silent_since_s = {
            name: self._silent_since_s.get(name, now_s) for name in sorted(silent)
        }
        for each in seen:
            if each.report is None or each.running.kind == DEDICATED:
                continue
            name, life = each.running.name, each.report.life
            if self._lives.setdefault(name, life) != life:
                self._lives[name] = life
                self.note_restart(name)


def _is_unknown(seen: ObservedActor) -> bool:
    """Tell whether this is a dedicated actor of which nobody knows the execution."""
    running = seen.running
    return running.is_silent and running.kind == DEDICATED and seen.known_id is None


async def _ids_of(
    silent: Sequence[ObservedActor], unfinished: Callable[[], Awaitable[Sequence[ExecutionId]]]
) -> dict[str, ExecutionId]:
    """Return the executions of dedicated actors that Ray takes for alive, by name.

    One that Ray is still starting is not silent: it has had no time to answer yet.
    """
    places = await asyncio.gather(*(asyncio.to_thread(place_of, each.actor) for each in silent))
    names = {
        each.running.name for each, (is_alive, _) in zip(silent, places, strict=True) if is_alive
    }
    if not names:
        return {}
    try:
        ids = {dedicated_actor_name(each): each for each in await unfinished()}
    except StoreError as error:
        log.warning("dedicated_executions_not_read", extra={"reason": str(error)})
        return {}
    return {name: ids[name] for name in names if name in ids}


async def _described(actor: Any) -> ActorDescription:
    """Ask an actor what it is and does; one of a release without descriptions only reports.

    A handle has the methods of the class that this process knows, and a process dies of a call of
    a method that it does not know.
    """
    report: ActorReport = await asyncio.wait_for(actor.report.remote(), ANSWER_S)
    if protocol_of_report(report) <= UNSAID:
        return ActorDescription(report=report)
    return decode_description(await asyncio.wait_for(actor.described.remote(), ANSWER_S))
