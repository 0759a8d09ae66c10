"""The busy functions that one process knows (spec 6.2, 9.3).

A function asks for a pause in its answer; this is a hint. Hints are in memory and expire by
themselves, so a crash drops them. They are kept by monotonic time and sent as durations, so a wrong
clock, here or at another owner, delays nothing. Every owner of partitions has the hints of all
owners. Which functions a service uses, each owner knows for its own executions; owners of dedicated
executions report theirs.

A hint that the function itself gave, in the answer of a call or in a callback with the seal of its
attempt, holds back the calls of the workspace of the execution. It counts for no other workspace,
because many functions answer with a part of their input, which whoever submits has written. Anyone
could send another callback, so its hint counts for the service of its execution alone.

Used by `runtime/backpressure/admission.py` and `runtime/commands/dispatching.py`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from rillflow.definition.addresses import without_user_info
from rillflow.errors import RequestError
from rillflow.ids import workspace_of
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Reply, ResourceCall, Submission

FORGET_S: Final = 10_800.0
"""What was not used for three hours is dropped."""
RECENT_S: Final = 1.0
"""Resolution of the time at which a function without a hint was used last."""

_MOST_SERVICES: Final = 10_000
_MOST_OF_SERVICE: Final = 5_000
_MOST_BUSY: Final = 10_000
_RESOURCE_LIMIT: Final = 30201

_Busy: TypeAlias = OrderedDict[tuple[str, str], float]
"""Until when functions are busy, by monotonic time, for workspaces or services."""


class Heard(NamedTuple):
    """When a function was last used, and until when it is busy (None: it never was).

    By monotonic time, in seconds.
    """

    updated_s: float
    until_s: float | None = None


class BusyFunctions:
    """The functions that services use, and how long the busy ones are busy."""

    def __init__(
        self,
        clock: Clock,
        tell: Callable[[ResourceCall], None] = lambda _: None,
        *,
        tells_all: bool = False,
    ) -> None:
        """``tell`` sends news to the other owners.

        With ``tells_all`` they also learn of functions that are not busy, once for each.
        """
        self._clock = clock
        self._tell = tell
        self._tells_all = tells_all
        self._services: OrderedDict[str, dict[tuple[str, str], Heard]] = OrderedDict()
        self._busy: _Busy = OrderedDict()
        self._busy_for_service: _Busy = OrderedDict()
        self.are_limiting = False
        """Whether any function was busy, so that submissions must be checked."""
        self.on_clear: Callable[[], None] = lambda: None

    def heard(
        self,
        service: str,
        task: str,
        resource: str,
        *,
        hint_s: int = 0,
        for_service_only: bool = False,
    ) -> None:
        """Note that a function has answered, and its hint; whom it concerns."""
        before = self._services.get(service, {}).get((task, resource))
        is_known = before is not None
        if before and hint_s <= 0 and self._clock.monotonic_s() - before.updated_s < RECENT_S:
            return
        news = ResourceCall(
            kind="busy",
            service=service,
            task=task,
            resource=resource,
            for_s=max(hint_s, 0),
            for_service_only=for_service_only,
        )
        self._learn(news)
        if news.for_s or (self._tells_all and not is_known):
            self._tell(news)

    def follow(self, workspace: str, blocks: Mapping[str, float]) -> None:
        """Replace the functions that are busy for workspaces by those of one, with seconds."""
        now_s = self._clock.monotonic_s()
        before = self._busy.keys()
        self._busy = OrderedDict(
            ((workspace, resource), now_s + left_s) for resource, left_s in blocks.items()
        )
        if before - self._busy.keys():
            self.on_clear()

    def copy_worst(self, service: str, task: str, resource: str, *, child: str) -> None:
        """Note that a sub-flow is as busy as the busiest function of its service."""
        hints = [heard.until_s for heard in self._known(child).values()]
        worst = max((until_s for until_s in hints if until_s is not None), default=None)
        self._note(service, task, resource, worst)

    @property
    def are_busy(self) -> bool:
        """Tell whether any function may be busy."""
        return bool(self._busy or self._busy_for_service)

    def busy_s(self, resource: str, service: str) -> float:
        """Return for how many seconds a function accepts no calls of a service; 0: it does now."""
        for_all_s = self._left_s(self._busy, (workspace_of(service), resource))
        return max(for_all_s, self._left_s(self._busy_for_service, (service, resource)))

    def _left_s(self, busy: _Busy, key: tuple[str, str]) -> float:
        until_s = busy.get(key)
        if until_s is None:
            return 0
        left_s = until_s - self._clock.monotonic_s()
        if left_s <= 0:
            del busy[key]
        return max(left_s, 0)

    def admit(self, call: Submission) -> None:
        """Accept a submission, or refuse it because functions of its service are busy.

        Raises:
            RequestError: ``resource limit resources: …`` (30201).
        """
        if not call.check:
            return
        service = f"{call.business}:{call.feature}"
        rows = list(self._rows(service))
        limited = unsatisfied(
            {row.resource for row in rows if row.busy},
            {row.resource for row in rows},
            check=call.check,
            keys=call.key_resources,
            any_key=call.any_key,
        )
        if limited:
            raise resource_limit(limited)

    def answer(self, call: ResourceCall) -> Reply:
        """Answer a query, or take news.

        The body of ``read`` is a list of rows, that of ``blocks`` a map of busy functions to the
        seconds for which each is busy.
        """
        match call.kind:
            case "busy":
                self._learn(call)
                return Reply()
            case "blocks":
                return Reply(changed=False, body=encode_json(self._blocks(call.service)))
            case "clear":
                return Reply(changed=self._clear(call.service, call.resources))
            case _:
                return Reply(changed=False, body=encode_json(list(self._rows(call.service))))

    def _known(self, service: str) -> dict[tuple[str, str], Heard]:
        """Return what is known of a service, without what is too old."""
        known = self._services.get(service)
        if known is None:
            return {}
        oldest_s = self._clock.monotonic_s() - FORGET_S
        for key in [key for key, heard in known.items() if heard.updated_s < oldest_s]:
            del known[key]
        return known

    def _blocks(self, service: str) -> JsonObject:
        own = [resource for asked, resource in self._busy_for_service if asked == service]
        workspace = workspace_of(service)
        own += [resource for asked, resource in self._busy if asked == workspace]
        left_s = {resource: self.busy_s(resource, service) for resource in own}
        return {resource: left for resource, left in left_s.items() if left}

    def _learn(self, news: ResourceCall) -> None:
        if not news.for_s:
            self._note(news.service, news.task, news.resource, None)
            return
        until_s = self._clock.monotonic_s() + news.for_s
        self._note(news.service, news.task, news.resource, until_s)
        busy, owner = self._busy, workspace_of(news.service)
        if news.for_service_only:
            busy, owner = self._busy_for_service, news.service
        key = (owner, news.resource)
        busy[key] = max(until_s, busy.pop(key, until_s))
        if len(busy) > _MOST_BUSY:
            busy.popitem(last=False)

    def _note(self, service: str, task: str, resource: str, until_s: float | None) -> None:
        known = self._services.get(service)
        if known is None:
            known = self._services[service] = {}
            if len(self._services) > _MOST_SERVICES:
                self._services.popitem(last=False)
        before = known.get((task, resource))
        if before is None and len(known) >= _MOST_OF_SERVICE:
            return
        if until_s is not None:
            self.are_limiting = True
        if before is not None and before.until_s is not None:
            until_s = max(before.until_s, until_s if until_s is not None else before.until_s)
        known[task, resource] = Heard(self._clock.monotonic_s(), until_s)

    def _clear(self, service: str, resources: tuple[str, ...]) -> bool:
        known = self._known(service)
        gone = [key for key in known if not resources or key[1] in resources]
        for task, resource in gone:
            del known[task, resource]
            self._busy.pop((workspace_of(service), resource), None)
            self._busy_for_service.pop((service, resource), None)
        self.on_clear()
        return bool(gone)

    def _rows(self, service: str) -> Iterator["ResourceRow"]:
        now_s = self._clock.monotonic_s()
        offset_s = self._clock.now_ms() / 1000 - now_s
        for (task, resource), heard in self._known(service).items():
            until_s = heard.until_s
            yield ResourceRow(
                task,
                resource,
                0 if until_s is None else round((until_s + offset_s) * 1000),
                round((heard.updated_s + offset_s) * 1000),
                until_s is not None and until_s > now_s,
            )


class ResourceRow(NamedTuple):
    """One function that a task of a service calls; a JSON list of five in replies.

    Times are milliseconds since the epoch, by this machine's clock as it is now.
    """

    task: str
    resource: str
    until_ms: int
    updated_ms: int
    busy: bool


def unsatisfied(
    limited: set[str], known: set[str], *, check: str, keys: tuple[str, ...], any_key: bool
) -> list[str]:
    """Return the busy functions because of which a submission is refused; none accepts it."""
    refused = limited
    if check == "skip" or (check == "long_board" and limited != known):
        return []
    if check == "key_resource":
        refused = limited & set(keys)
        if not any_key and refused != set(keys):
            return []
    return sorted(refused)


def resource_limit(resources: list[str]) -> RequestError:
    """Build the refusal of a submission because of busy functions."""
    return RequestError(
        f"resource limit resources: {','.join(map(without_user_info, resources))}",
        wire_code=_RESOURCE_LIMIT,
    )


class Traffic:
    """Counts accepted submissions in each second of the wall clock, by id (spec 6.3)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0
        self._taken: dict[str, int] = {}

    def take(self, subject: str, limit: int) -> bool:
        """Count one; False if the limit of this second is reached."""
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._second, self._taken = second, {}
        taken = self._taken.get(subject, 0)
        if taken >= limit:
            return False
        self._taken[subject] = taken + 1
        return True
