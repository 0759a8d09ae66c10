"""The promises, checked while a run goes on and at its end.

* What was acknowledged is durable: submissions, callbacks, wake-ups, requests, answers.
* A function is called for attempts that the journal has ordered, and for no other; by
  one life of a dispatcher once, and once more when its answer was lost with an owner.
* A function on Ray is begun once for each attempt, whatever dies, and its task actor ends when its
  outcome is durable, or when the journal says that nobody waits for it. If a redo orders an attempt
  again that was ended so, its function is begun anew.
* An idempotency key makes one execution.
* An execution has no more sub-flows than its submission allows.
* A task that has ended stays as it ended, and is not ordered again, unless by a redo.
* Only the owner of a partition writes to it.
* A snapshot is the state that its records give.
* An execution that is said to have ended has ended.
* A notice that is noted as delivered was delivered.
* At the end every execution has settled, the store and the owners agree, and nothing
  that was begun is left lying about.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from rillflow.core.encoding import codec
from rillflow.core.events import NoticeDelivered, ProgressReported
from rillflow.core.plan import Plan
from rillflow.errors import ExecutionError, RequestError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import decode_json
from rillflow.ports.executions import Call, Delivery, Query, Reply, Submission, Watch
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Append, NewExecution
from rillflow.runtime.definitions.catalogue import parse_stored
from tests.simulation.mirror import Mirror, waits_in_vain
from tests.simulation.surroundings import Surroundings
from tests.simulation.virtual_loop import LIFE, Life

MOST_TELLS: Final = 2
"""How often one life of a dispatcher makes a completion callback."""
LONGEST_WAY_S: Final = 28.0
"""How long an order may be on its way, up to 20 s of it in a process that is frozen."""


class Promises:
    """Hears of everything that happens, and breaks off a run that breaks a promise."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._plans: dict[str, Plan] = {}
        self._owners: dict[int, Life | None] = {}
        self._keys: dict[str, str] = {}
        self._families: Counter[ExecutionId] = Counter()
        self.sent_away_from: set[tuple[str, str, int]] = set()
        self._told: set[tuple[str, str, int]] = set()
        self._called: Counter[tuple[tuple[str, str, int, int], Life | None]] = Counter()
        self._on_ray: set[tuple[str, str, int]] = set()
        self._drops: Counter[tuple[tuple[str, str, int, int], Life | None]] = Counter()
        self.mirrors: dict[str, Mirror] = {}
        self.counts: Counter[str] = Counter()
        self.set_apart: set[ExecutionId] = set()
        self.known: Callable[[bytes], bytes] = lambda snapshot: snapshot
        """Returns of a snapshot what every release in the world knows."""

    # -- the store ------------------------------------------------------------------

    def defined(self, definition_id: str, text: str) -> None:
        """Hear of a definition."""
        if definition_id not in self._plans:
            self._plans[definition_id] = Plan(parse_stored(text), definition_id)

    def taken(self, life: Life | None, scopes: Sequence[int]) -> None:
        """Hear of a new owner."""
        self._owners.update(dict.fromkeys(scopes, life))

    def written(self, life: Life | None, append: Append) -> None:
        """Hear of an append that the store has accepted."""
        if self._owners.get(append.fencing_scope) is not life:
            self._broken(f"{life} wrote to fencing scope {append.fencing_scope}, which it has lost")
        if append.new is not None:
            self._check_new(append.new)
        mirror = self.mirrors.get(append.execution_id)
        for record in append.records:
            event = codec.decode_event(record)
            self._around.note("wrote", f"{append.execution_id[-4:]} {event}")
            self.counts[type(event).__name__] += 1
            if mirror is None:
                plan = self._plans[append.new.definition_id if append.new else ""]
                mirror = Mirror(plan, record, life, self._around.loop.time())
                self.mirrors[append.execution_id] = mirror
                continue
            if isinstance(event, NoticeDelivered):
                self._check_notice(mirror, event)
            wrong = mirror.apply(record, life, self._around.loop.time())
            if wrong:
                self._broken(wrong)
        self._check_snapshot(append)

    def _check_snapshot(self, append: Append) -> None:
        if append.snapshot is None:
            return
        if append.closing is None:
            self.counts["snapshots on the way"] += 1
        given = codec.encode_state(
            self.mirrors[append.execution_id].state_after(append.snapshot_seq)
        )
        # A large one is encoded another way.
        said = append.snapshot
        if said != given and self.known(_encoded_again(said)) != self.known(given):
            self._broken(f"{append.execution_id}: a snapshot tells another story")

    def _check_new(self, new: NewExecution) -> None:
        if new.idempotency_key is not None:
            first = self._keys.setdefault(new.idempotency_key, new.execution_id)
            if first != new.execution_id:
                self._broken(f"{new.execution_id} has the idempotency key of {first}")
        if new.ancestors:
            head = new.ancestors[0]
            self._families[head] += 1
            if self._families[head] > new.max_descendants:
                self._broken(f"{head} has {self._families[head]} sub-flows")

    def doubted(self, append: Append) -> None:
        """Hear that an owner does not know whether it has written what it has."""
        self.mirrors[append.execution_id].forget_timers()

    def _check_notice(self, mirror: Mirror, event: NoticeDelivered) -> None:
        state = mirror.state
        key = (state.execution_id, "", state.completion_attempt)
        if event.kind == "completion" and event.error is None and key not in self._told:
            self._broken(f"{state.execution_id}: its completion callback was never made")
        if event.kind != "parent" or state.parent is None or state.parent_notice is None:
            return
        if event.error is not None and event.error.endswith("is finished"):
            link = state.parent
            self.sent_away_from.add((link.execution_id, link.task, link.attempt))
        if waits_in_vain(self.mirrors[state.parent.execution_id].state, state):
            self._broken(f"{state.execution_id}: its parent was told, and waits all the same")

    # -- functions ------------------------------------------------------------------

    def called(self, request: DispatchRequest) -> None:
        """Hear that a function is called."""
        mirror = self.mirrors.get(request.execution_id)
        if mirror is None or request.call not in mirror.ordered:
            self._broken(f"{request.call} was called, and never ordered")
            return
        self.counts["calls"] += 1
        if request.task and not mirror.waits_for(request.task, request.attempt, request.poll):
            self._called_late(request, mirror)
        made = request.call, LIFE.get()
        self._called[made] += 1
        most_made = 1 if request.task else MOST_TELLS
        if self._called[made] > most_made * (1 + self._drops[made]):
            self._broken(f"{request.call} was called again by a dispatcher that knew of it")

    def begun(self, key: tuple[str, str, int]) -> None:
        """Hear that a function begins on Ray."""
        self.counts["begun on Ray"] += 1
        if key in self._on_ray:
            self._broken(f"{key} was begun twice on Ray")
        self._on_ray.add(key)

    def unwanted(self, key: tuple[str, str, int]) -> None:
        """Hear that a function on Ray is ended, since nobody waits for it."""
        self.counts["ended on Ray"] += 1
        self._on_ray.discard(key)
        execution_id, task, attempt = key
        mirror = self.mirrors[execution_id]
        if not mirror.wants(task, attempt):
            return
        # A redo may have come while the order to end it was on its way.
        until_s = mirror.unwanted_until_s.get((task, attempt))
        if until_s is None or self._around.loop.time() - until_s > LONGEST_WAY_S:
            self._broken(f"{key} was ended on Ray, and the journal waits for it")

    def delivered(self, key: tuple[str, str, int]) -> None:
        """Hear that a task actor leaves, since its outcome is durable."""
        self.counts["delivered on Ray"] += 1
        execution_id, task, attempt = key
        if execution_id in self.set_apart:
            return  # its answers are acknowledged, and not handled until somebody redoes it
        if self.mirrors[execution_id].waits_for(task, attempt, 0):
            self._broken(f"{key} is said to be durable, and the journal waits for it")

    def dropped(self, answers: Sequence[DispatchAnswer]) -> None:
        """Hear that a dispatcher drops answers, because a dedicated execution has no owner."""
        for answer in answers:
            self._drops[answer.call, LIFE.get()] += 1

    def _called_late(self, request: DispatchRequest, mirror: Mirror) -> None:
        """Judge a call that nobody waits for: its order was on its way when that changed."""
        late_s = (
            self._around.loop.time() - mirror.over_at_s[request.task, request.attempt, request.poll]
        )
        self.counts["late calls"] += 1
        self._around.note("late call", f"{request.call} by {late_s} s")
        made = request.call, LIFE.get()
        if self._called[made] > self._drops[made]:
            self._broken(f"{request.call} was over, and was called again")
        if late_s > LONGEST_WAY_S:
            self._broken(f"{request.call} was called {late_s} s after it was over")

    def told_listener(self, request: DispatchRequest) -> None:
        """Hear that a completion callback reached its listener."""
        self._told.add(request.key)

    def sent_away(self, request: DispatchRequest) -> None:
        """Hear that a callback was refused, because the execution has ended."""
        self.sent_away_from.add(request.key)

    # -- callers --------------------------------------------------------------------

    def submitted(self, execution_id: ExecutionId) -> None:
        """Hear that somebody was told that an execution exists."""
        if execution_id not in self.mirrors:
            self._broken(f"{execution_id} was acknowledged, and is not stored")

    def said_ended(self, execution_id: ExecutionId, status: bytes | None = None) -> None:
        """Hear that somebody who waited was told that an execution has ended, and how."""
        mirror = self.mirrors.get(execution_id)
        if status is not None and not any(word in status for word in (b"SUCCEED", b"FAILED")):
            self._broken(f"{execution_id} was announced as ended, and shown as {status!r}")
        if mirror is not None and not mirror.over and not mirror.redone:
            self._broken(f"{execution_id} was announced as ended, and has not")

    # -- owners ---------------------------------------------------------------------

    def replied(self, call: Call, reply: Reply) -> None:
        """Hear what an owner answers, at the moment the answer leaves it."""
        if reply.error is not None:
            return
        mirror = self.mirrors.get(call.execution_id)
        match call:
            case Submission():
                self.submitted(call.execution_id)
            case Delivery():
                self._check_delivery(call, reply, mirror)
            case Watch() if not reply.changed:
                self.said_ended(call.execution_id)
            case Query() if reply.body is not None and call.kind == "status":
                said = decode_json(reply.body)
                ended = isinstance(said, dict) and said["dag_status"] in ("SUCCEED", "FAILED")
                if ended and mirror is not None and not mirror.over and not mirror.redone:
                    self._broken(f"{call.execution_id} shows as ended, and has not")

    def _check_delivery(self, call: Delivery, reply: Reply, mirror: Mirror | None) -> None:
        if mirror is None:
            self._broken(f"{call.execution_id} took an event, and is not stored")
            return
        event = call.event
        if reply.changed:
            if codec.encode_event(event) not in mirror.records:
                self._broken(f"acknowledged, and not stored: {event}")
            return
        if isinstance(event, ProgressReported):
            return  # one that came before its attempt began is not kept; the reply may come after
        try:
            lost = mirror.would_take(event) and not mirror.redone
        except (ExecutionError, RequestError):
            return
        if lost:
            self._broken(f"dropped as a repetition, and is none: {event}")

    def took_answers(self, answers: Sequence[DispatchAnswer]) -> None:
        """Hear that an owner has taken answers."""
        for answer in answers:
            mirror = self.mirrors.get(answer.execution_id)
            if answer.execution_id in self.set_apart:
                continue  # It is kept in memory, and the call is made again if that is lost.
            if mirror is not None and mirror.waits_for(answer.task, answer.attempt, answer.poll):
                key = (answer.execution_id, answer.task, answer.attempt)
                if not mirror.over:
                    self._broken(f"the answer of {key} was acknowledged, and is not stored")

    # -- the end --------------------------------------------------------------------

    def unsettled(self) -> list[str]:
        """Say of every execution that has not settled why it waits."""
        return [
            f"{execution_id}: {mirror.why_waiting()}"
            for execution_id, mirror in self.mirrors.items()
            if not mirror.settled
        ]

    def _broken(self, promise: str) -> None:
        self._around.break_promise(promise)


def _encoded_again(snapshot: bytes) -> bytes:
    return codec.encode_state(codec.decode_state(snapshot))
