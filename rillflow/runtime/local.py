"""All parts in one process, without Ray: for tests, simulation and benchmarks.

Nothing of a running stack imports it. It joins what `rillflow/actors` joins, without messages.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType

from rillflow.core.tasks.kept_outputs import OUTPUTS_MAX_BYTES
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.limits.waiting_call import TurnGateway
from rillflow.gateways.registry import GatewayRegistry
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.ports.changes import AwaitChanges, Changes
from rillflow.ports.clock import Clock
from rillflow.ports.executions import (
    Call,
    End,
    Reply,
    ResourceCall,
    Submission,
    Until,
    ViewPart,
)
from rillflow.ports.gateway import DispatchAnswer, DispatcherState, DispatchRequest, Gateway
from rillflow.ports.messages import AwaitEnds
from rillflow.ports.storage.store import Store
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.backpressure.admission import (
    MOST_QUEUED,
    MOST_UNANSWERED,
    MOST_UNANSWERED_BYTES,
    SubmissionLimit,
    UnansweredCalls,
    inputs_of,
)
from rillflow.runtime.commands.subflows import StoreLimits, Workspaces, without_limit
from rillflow.runtime.completion.client import CompletionClient, News
from rillflow.runtime.dispatch.measuring import MeasuredGateway
from rillflow.runtime.dispatch.pool import DispatchPool
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.owner.views import VIEWS_MAX_BYTES
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.minutes import Minute
from rillflow.telemetry.span_queue import SpanQueue
from rillflow.telemetry.states import ProcessState


class LocalExecutions:
    """One owner of every partition, with a dispatch pool beside it."""

    def __init__(  # noqa: PLR0913 - the ports it joins, and its limits
        self,
        *,
        store: Store,
        gateway: Gateway,
        clock: Clock,
        callback_host: str = "http://127.0.0.1:8080",
        most_hot: int = 20_000,
        hot_bytes: int = 1 << 29,
        outputs_max_bytes: int = OUTPUTS_MAX_BYTES,
        views_max_bytes: int = VIEWS_MAX_BYTES,
        subflow_workspaces: Workspaces = MappingProxyType({}),
        take_store: StoreLimits = without_limit,
        max_queued_submissions: int = MOST_QUEUED,
        max_unanswered_calls: int = MOST_UNANSWERED,
        max_unanswered_bytes: int = MOST_UNANSWERED_BYTES,
        on_fenced: Callable[[], None] = lambda: None,
        meters: Meters | None = None,
        spans: SpanQueue | None = None,
        turns: FairTurns | None = None,
    ) -> None:
        meters = meters or Meters("local")
        measured = MeasuredGateway(gateway, meters, clock, queues=_with_turns(gateway))
        self._pool = DispatchPool(measured, self._answered, queues=measured)
        self._inputs: dict[CallId, int] = {}
        self.input_bytes = 0
        self.host = ExecutionOwner(
            store=store,
            clock=clock,
            dispatcher=self,
            executions=self,
            callback_host=callback_host,
            partitions=range(PARTITIONS),
            limits=OwnerLimits(
                most_hot=most_hot,
                hot_bytes=hot_bytes,
                outputs_max_bytes=outputs_max_bytes,
                views_max_bytes=views_max_bytes,
                subflow_workspaces=subflow_workspaces,
                take_store=take_store,
            ),
            on_fenced=on_fenced,
            meters=meters,
            spans=spans,
            turns=turns,
        )
        self._limit = self._submission_limit(
            max_queued_submissions, max_unanswered_calls, max_unanswered_bytes
        )
        self._watch = CompletionClient("local", self.call, self._ended)

    def _submission_limit(self, queued: int, calls: int, input_bytes: int) -> SubmissionLimit:
        held = self.host.held
        return SubmissionLimit(
            queued,
            unanswered=UnansweredCalls(
                lambda: len(self._pool) + held.count,
                lambda: chain(self._pool.executions(), held.executions()),
                calls,
            ),
            inputs=inputs_of((self, held), input_bytes),
        )

    async def start(self) -> None:
        """Take ownership and resume the executions that had not ended."""
        await self.host.start()

    async def stop(self) -> None:
        """Stop; what is outstanding stays for the next start."""
        await self._pool.close()
        await self.host.stop()

    async def call(self, call: Call) -> Reply:
        """Make one call."""
        [reply] = await self._limit.call_many([call], self.host.call_many, self.host.is_known)
        return reply

    async def call_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Make calls together."""
        return await self._limit.call_many(calls, self.host.call_many, self.host.is_known)

    async def submit_ahead(self, submissions: Sequence[Submission], until: Until) -> list[Reply]:
        """Handle submissions ahead of their time; they are written ``until`` then."""
        take = partial(self.host.call_many, until=until)
        return await self._limit.call_many(submissions, take, self.host.is_known)

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        """Make a call at the one owner."""
        return [await self.call(call)]

    async def part(self, execution_id: ExecutionId, asked: ViewPart) -> Reply:
        """Return a part of a view that a reply has named."""
        del execution_id
        return await self.host.views.part(asked)

    @property
    def owner_count(self) -> int:
        """There is one owner."""
        return 1

    async def changes(self, owner: int, asked: AwaitChanges) -> Changes:
        """Ask the one owner for changes."""
        del owner
        return await self.host.changes.take(asked)

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit an execution and wait until it has ended."""
        return await self._watch.run(submission, timeout_s, show)

    async def end(self, execution_id: ExecutionId, timeout_s: float, show: str) -> End:
        """Wait until an execution has ended; return the view that ``show`` asks for."""
        return await self._watch.wait(execution_id, timeout_s, show)

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False if the time was not enough."""
        return (await self.end(execution_id, timeout_s, "")).has_ended

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Add requests without waiting."""
        self._pool.send(requests)
        for request in requests:
            call = request.call
            if call not in self._inputs and self._pool.makes(call):
                self._inputs[call] = len(request.input)
                self.input_bytes += len(request.input)

    def inputs(self) -> Iterator[tuple[ExecutionId, int]]:
        """Yield the execution of each call under way, and the bytes of its input."""
        return ((call[0], size_bytes) for call, size_bytes in self._inputs.items())

    async def _ended(self, question: AwaitEnds) -> News:
        watchers = self.host.watchers
        ended = await watchers.take(question.watcher, question.timeout_s, question.heard)
        return News("only", ended)

    async def _answered(self, answers: list[DispatchAnswer]) -> None:
        await self.host.answers_arrived(answers)
        for answer in answers:
            self.input_bytes -= self._inputs.pop(answer.call, 0)


def _with_turns(gateway: Gateway) -> TurnGateway | None:
    """Return the gateway if its calls may wait without a task."""
    return gateway if isinstance(gateway, GatewayRegistry) else None


class LocalDispatcher:
    """The dispatch pool of this process."""

    def __init__(self, gateways: GatewayRegistry) -> None:
        self._gateways = gateways

    async def states(self) -> list[DispatcherState]:
        """Return the state of the one dispatcher."""
        return [DispatcherState(is_reached=True, hosts=self._gateways.hosts())]


class LocalProcessMeters:
    """The meters of the executions of this process, as those of another one."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    async def states(self, own: ProcessState) -> list[ProcessState]:
        """Return their state."""
        del own
        return [self._meters.state()]

    async def tell(self, own: ProcessState) -> None:
        """Tell nobody: there is one replica."""

    async def share(self, minutes: Sequence[Minute]) -> list[Minute]:
        """Return nothing: there is one replica."""
        del minutes
        return []
