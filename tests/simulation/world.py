"""One run: everything joined, troubled for a while, left in peace, and looked over."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, NamedTuple

from rillflow.core.encoding import codec
from rillflow.ids import PARTITIONS, ExecutionId, is_execution_id
from rillflow.jsontypes import JsonValue
from rillflow.language.expressions import compile_expression
from rillflow.runtime.activation.journal import SNAPSHOT_STEPS
from rillflow.runtime.activation.replay import replay
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import OwnerLimits
from tests.simulation.faults import FAIR, Faults, draw_faults
from tests.simulation.flaky_store import FlakyStore
from tests.simulation.flows import Workflows, draw_workflows, on_ray
from tests.simulation.functions import Functions
from tests.simulation.network import Network
from tests.simulation.parts import (
    DispatcherProcess,
    Executions,
    HostProcess,
    Supervisor,
    dispatcher_name,
    host_name,
)
from tests.simulation.people import People, Wish
from tests.simulation.promises import Promises
from tests.simulation.surroundings import JUMPS_S, START_MS, SimulatedClock, Surroundings
from tests.simulation.virtual_loop import Life, LivelockError, virtual_threads

QUIET_S: Final = 60.0
EXPECTED_CALLBACK_S: Final = 1.0
GRAY_RULE: Final = "uid % 3 == 1"
AB_RULE: Final = "uid % 2 == 0"
"""When a callback is overdue, in every fifth world; in the others it is never."""
MOST_CHILDREN: Final = 1
"""How many sub-flows an execution may have, in every tenth world that is not sure."""
OFTEN_STEPS: Final = 250
"""A snapshot comes with every third event."""
PEACE_S: Final = 900.0
"""How long everything may take to settle once nothing goes wrong any more."""


class Finding(NamedTuple):
    """What a run has shown."""

    seed: int
    broken: tuple[str, ...]
    contexts: dict[int, JsonValue]
    steps: int
    record: list[tuple[float, str, str, str]]
    counts: dict[str, int]

    @property
    def digest(self) -> str:
        """The same for the same seed, in every process."""
        return hashlib.sha256(repr((self.steps, self.record)).encode()).hexdigest()


class World:
    """See the module."""

    def __init__(
        self,
        seed: int,
        *,
        faults: Faults,
        workflows: Workflows,
    ) -> None:
        self.around = around = Surroundings(seed, faults)
        # Others are as they were before there was Ray: some seeds are kept for what they found.
        self._workflows = on_ray(workflows) if seed % 10 in {2, 4} else workflows
        shape = Random(seed + 2)
        looked_after = seed % 5 == 2
        self._hosts = shape.choice([1, 2, 2])
        self._dispatchers = shape.choice([1, 1, 2])
        self._limits = OwnerLimits(
            shape.choice([1, 2, 100]),
            # Others are as they were before there were such snapshots, for the seeds kept below.
            snapshot_steps=OFTEN_STEPS if seed % 10 in {2, 4} else SNAPSHOT_STEPS,
            # Where looks at the clock take time, nearly every evaluation is interrupted.
            portion_steps=1,
        )
        # Turns of some events each, or of a part of one.
        self._look_s = {2: 0.005, 4: 0.03}.get(seed % 10, 0.0)
        self._wishes = _draw_wishes(shape)
        # Others are as they were before owners were lost: some seeds are kept for what they found.
        self._losses_s = [shape.uniform(0.5, 9.0) for _ in "ab"] if seed % 4 == 1 else []
        self._wrong_by_s: dict[str, float] = {}
        self.promises = Promises(around)
        self.store = FlakyStore(around, self.promises)
        self.supervisor = Supervisor(around)
        self._network = Network(around, self._is_gone, self.promises.dropped)
        self.processes: dict[Life, HostProcess] = {}
        self.dispatchers: dict[Life, DispatcherProcess] = {}
        clock = SimulatedClock(around.loop)
        self._outside = around.begin_life("people", frail=False)
        behind = around.begin_life("functions", frail=False)
        self.people = self._gather_people(clock, seed, looked_after=looked_after)
        self.functions = Functions(
            around,
            life=behind,
            clock=clock,
            executions=Executions(self._network, self._hosts, "functions", self._spawn),
            watch=self.promises,
            sure=workflows.sure,
            looked_after=looked_after,
        )

    def _gather_people(self, clock: SimulatedClock, seed: int, *, looked_after: bool) -> People:
        # Others are as they were before there was a limit: some seeds are kept for what they found.
        is_limited = seed % 10 == 4 and not self._workflows.sure
        return People(
            self.around,
            Executions(self._network, self._hosts, "people", self._spawn),
            clock,
            self.promises,
            self.store,
            expected_callback_s=EXPECTED_CALLBACK_S if looked_after else None,
            # Whoever waits for an execution starts its owner.
            impatience=0.7 if self._losses_s else 0.0,
            most_children=MOST_CHILDREN if is_limited else None,
        )

    async def run(self) -> None:
        """Live through all of it."""
        around = self.around
        await self.store.open()
        version = await self._define()
        for index in range(self._dispatchers):
            self.supervisor.supervise(dispatcher_name(index), self._dispatcher_starter(index))
        for index in range(self._hosts):
            owns = range(index, PARTITIONS, self._hosts)
            self.supervisor.supervise(host_name(index), self._host_starter(host_name(index), owns))
        for wish in self._wishes:
            self._begin(self.people.submit_and_wait(wish._replace(definition_id=version)))
        self._begin(self.people.wake_sleepers())
        if self._losses_s and around.faults != FAIR:
            self._begin(self._lose_owners())
        self._begin(self.people.look())
        await asyncio.gather(self._upheavals(), self._requests())
        if around.faults != FAIR:
            await around.pause(1.0, 8.0)
        self._make_peace()
        await self._settle()
        await self._stop()

    def _begin(self, coro: object) -> None:
        self.around.loop.spawn(self._outside, coro)  # type: ignore[arg-type]

    async def _define(self) -> str:
        workflows = self._workflows
        aliases = [(workflows.child, "release"), (workflows.gray, "next")]
        for definition, alias in [*aliases, (workflows.main, "release")]:
            text, name = json.dumps(definition), definition["dagName"]
            await add_descriptor(self.store, "demo", name, alias, text, at_ms=START_MS)
        await self.store.set_rule("gray", ("demo", "child"), "next", GRAY_RULE)
        for function, rule in [("even", AB_RULE), ("any", "default")]:
            await self.store.set_rule("ab", ("demo", "functions"), f"http://{function}/of", rule)
        for rule in (GRAY_RULE, AB_RULE):
            compile_expression(rule)  # else owners do so in a thread, and time here is not real
        version = await self.store.newest_version("demo", "main", "release")
        assert version is not None
        return version

    def _spawn(self, execution_id: ExecutionId) -> None:
        if not self.supervisor.supervises(execution_id):
            start = self._host_starter(execution_id, execution_id)
            self.supervisor.supervise(execution_id, start)

    def _host_starter(self, name: str, owns: Sequence[int] | ExecutionId) -> Callable[[], Life]:
        def start() -> Life:
            life = self.around.begin_life(name, frail=True)
            self.processes[life] = HostProcess(
                self.around,
                life=life,
                owns=owns,
                hosts=self._hosts,
                dispatchers=self._dispatchers,
                network=self._network,
                store=self.store,
                clock=SimulatedClock(self.around.loop, lambda: self._wrong_by_s.get(name, 0.0)),
                promises=self.promises,
                limits=self._limits,
                look_s=self._look_s,
                spawn=self._spawn,
                living=self.supervisor.living,
                retire=lambda life: self.supervisor.retire(life, start),
                **self._watched(life),
            )
            return life

        return start

    def _is_gone(self, name: str) -> bool:
        """Tell whether a process has left for good, so that what is for it may be dropped."""
        return not self.supervisor.supervises(name)

    def _watched(self, life: Life) -> dict[str, Any]:
        """Return what else an owner is given, in worlds where something may be fatal to it."""
        del life
        return {}

    def _dispatcher_starter(self, index: int) -> Callable[[], Life]:
        def start() -> Life:
            life = self.around.begin_life(dispatcher_name(index), frail=True)
            self.dispatchers[life] = DispatcherProcess(
                life,
                network=self._network,
                gateway=self.functions,
            )
            return life

        return start

    # -- trouble --------------------------------------------------------------------

    async def _upheavals(self) -> None:
        around = self.around
        for _ in range(around.faults.upheavals):
            await around.pause(0.1, 3.0)
            around.random.choice(
                [self._kill, self._kill, self._freeze, self._depose, self._depose, self._jump]
            )()

    async def _requests(self) -> None:
        if self._workflows.sure:
            return
        for _ in range(self.around.faults.requests):
            await self.around.pause(0.1, 3.0)
            await self.around.loop.spawn(self._outside, self.people.meddle())

    def _kill(self) -> None:
        name = self.around.random.choice(list(self.supervisor.newest))
        self.around.note("kill", name)
        self.supervisor.newest[name].kill()

    def _freeze(self) -> None:
        """Stop a process for a while, as a machine does that swaps."""
        life = self.around.random.choice(list(self.supervisor.newest.values()))
        self._freeze_life(life)

    def _freeze_life(self, life: Life) -> None:
        self.around.note("freeze", repr(life))
        life.frozen = True
        self.around.later(self.around.random.uniform(0.1, 12.0), self._thaw, life)

    def _thaw(self, life: Life) -> None:
        if life.frozen and not life.dead:
            self.around.note("thaw", repr(life))
            self.around.loop.thaw(life)

    def _depose(self) -> None:
        """Let a new owner take over from one that only seems to be dead."""
        name = self._some_host()
        self._freeze_life(self.supervisor.newest[name])
        self.supervisor.take_over(name)

    async def _lose_owners(self) -> None:
        """Remove owners of dedicated executions for good, as somebody does by hand."""
        for pause_s in self._losses_s:
            await asyncio.sleep(pause_s)
            for owner in filter(is_execution_id, list(self.supervisor.newest)):
                self.around.note("lose", owner)
                self.supervisor.lose(owner)

    def _jump(self) -> None:
        """Set the clock of an owner's machine wrong."""
        name = self._some_host()
        self._wrong_by_s[name] = self.around.random.choice(JUMPS_S)
        self.around.note("clock", f"{name} is wrong by {self._wrong_by_s[name]} s")

    def _some_host(self) -> str:
        dispatchers = map(dispatcher_name, range(self._dispatchers))
        return self.around.random.choice(sorted({*self.supervisor.newest}.difference(dispatchers)))

    # -- peace ----------------------------------------------------------------------

    def _make_peace(self) -> None:
        around = self.around
        around.note("peace")
        around.clear_up()
        self._wrong_by_s.clear()
        self.functions.speak()
        for life in around.lives:
            self._thaw(life)

    async def _settle(self) -> None:
        """Wait until every execution has settled, stays so, and everybody knows."""
        end_s = self.around.loop.time() + PEACE_S
        while True:
            await self._settle_once(end_s)
            await asyncio.sleep(QUIET_S)
            if self.around.broken or not self._is_busy():
                return

    async def _settle_once(self, end_s: float) -> None:
        while not self.around.broken and self._is_busy():
            if self.around.loop.time() > end_s:
                for reason in self.promises.unsettled():
                    self.around.break_promise(f"not settled: {reason}")
                if self.people.waiting:
                    self.around.break_promise("somebody waits for an execution that has ended")
                return
            await asyncio.sleep(1.0)

    def _is_busy(self) -> bool:
        return bool(self.people.waiting or self.promises.unsettled())

    async def _stop(self) -> None:
        if self.around.broken:
            return
        self.supervisor.resting = True
        self._outside.kill()
        await self._compare()
        for life, process in self.processes.items():
            if not life.dead:
                await self.around.loop.spawn(life, process.stop())
        await asyncio.sleep(1.0)
        self._look_for_leaks()

    async def _compare(self) -> None:
        """Compare what is durable with what owners have in memory."""
        for execution_id, mirror in self.promises.mirrors.items():
            stored = await self.store.load(execution_id)
            assert stored is not None
            known = self.promises.known
            wanted = known(codec.encode_state(mirror.state))
            if known(codec.encode_state(replay(mirror.plan, stored).state)) != wanted:
                self.around.break_promise(f"{execution_id}: the store tells another story")
            for life in self.supervisor.newest.values():
                process = self.processes.get(life)
                if process is None or not process.host._ownership.is_near(execution_id):
                    continue  # What others own is read to judge calls that were ordered before.
                execution = process.host._activations.find(execution_id)
                if execution is None:
                    continue
                if known(codec.encode_state(execution.state)) != wanted:
                    self.around.break_promise(f"{execution_id}: {life} remembers it differently")

    def _look_for_leaks(self) -> None:
        around = self.around
        for life in (each for each in around.lives if not each.dead):
            for task in (each for each in life.tasks if not each.done()):
                around.break_promise(f"{life} leaves a task: {task.get_coro()}")
        for life, process in self.processes.items():
            left = [key for link in process.client._links for key in link.unanswered]
            # One whose name is gone waits for what dispatchers have dropped, until Ray ends it.
            if left and self.supervisor.newest.get(life.name) is life:
                around.break_promise(f"{life} still waits for answers to {left}")
        for life, dispatcher in self.dispatchers.items():
            if len(dispatcher.endpoint) and not life.dead:
                around.break_promise(f"{life} still makes {len(dispatcher.endpoint)} calls")

    def finding(self) -> Finding:
        """Say what the run has shown."""
        around = self.around
        complaints = [f"asyncio: {each}" for each in around.loop.complaints]
        for life in (each for each in around.lives if not each.dead):
            complaints += [
                f"{life}: {task.exception()!r} of {task.get_coro()} went unheard"
                for task in life.tasks
                if task.done() and not task.cancelled() and task._log_traceback  # type: ignore[attr-defined]
            ]
        contexts = {
            number: _without_ids(self.promises.mirrors[execution_id].state.context)
            for number, execution_id in self.people.submitted.items()
            if execution_id in self.promises.mirrors
        }
        return Finding(
            around.seed,
            tuple(around.broken + complaints),
            contexts,
            around.loop.steps,
            around.record,
            dict(self.promises.counts),
        )


def simulate(seed: int, *, defects: float = 0.0) -> Finding:
    """Run one seed, where owners meet ``defects`` so often, and return what it has shown."""
    random = Random(seed)
    workflows = draw_workflows(random)
    weather = draw_faults(random)._replace(defects=defects)
    finding = _run(seed, weather, workflows)
    if workflows.sure and weather != FAIR and not finding.broken:
        calm = _run(seed, FAIR, workflows)
        return finding._replace(broken=calm.broken + differences(finding, calm))
    return finding


def _run(seed: int, faults: Faults, workflows: Workflows) -> Finding:
    return live(World(seed, faults=faults, workflows=workflows))


def live(world: World) -> Finding:
    """Run a world to its end and return what it has shown."""
    loop = world.around.loop
    with virtual_threads(loop):
        try:
            loop.run_until_complete(world.run())
        except LivelockError as error:
            world.around.break_promise(f"the run does not end: {error}")
        finding = world.finding()
        world.supervisor.resting = True
        loop.bury(world.around.lives)
    return finding


def differences(stormy: Finding, calm: Finding) -> tuple[str, ...]:
    """Compare the contexts of the submitted executions."""
    return tuple(
        f"execution {number} ended with {stormy.contexts.get(number)} instead of {context}"
        for number, context in calm.contexts.items()
        if stormy.contexts.get(number) != context
    )


def _draw_wishes(random: Random) -> list[Wish]:
    x = random.choice([1, 3, 5])
    return [
        Wish(
            number,
            "",
            x=x,
            uid=random.randrange(6),
            callers=random.choice([0, 0, 1, 2]),
            dedicated=random.random() < 0.3,
        )
        for number in range(random.choice([1, 1, 2, 3]))
    ]


def _without_ids(value: JsonValue) -> JsonValue:
    """Leave out of a context what is different in every run."""
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {k: _without_ids(each) for k, each in value.items() if not k.startswith("flow_")}
