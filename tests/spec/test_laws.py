"""What holds for every workflow, whatever the world answers and whenever it does."""

from collections import Counter
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rillflow.core import machine
from rillflow.core.commands import Announce, Command, DispatchTask
from rillflow.core.encoding import codec
from rillflow.core.events import Event, ExecutionSubmitted
from rillflow.core.redo import restart
from rillflow.core.redo.failed_parts import failed_parts, groups_around
from rillflow.core.state import ExecutionState
from rillflow.core.status import DAG_COMPLETED, SATISFIED, TaskStatus
from rillflow.core.tasks import polling
from rillflow.core.turn import Turn
from rillflow.errors import RillflowError
from rillflow.testing import Scenario
from rillflow.testing.replay import check_outstanding, replay
from rillflow.testing.scenario import begins_anew
from tests.fuzzing import examples
from tests.spec.notation import Definition
from tests.spec.random_flows import Player, flows

EXAMPLES = 120
LAW = settings(
    max_examples=examples(EXAMPLES),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MOST_STEPS = 2000
SEEDS = st.integers(0, 2**32)


@LAW
@given(flows(), SEEDS)
def test_every_workflow_ends_when_everything_it_wants_is_answered(
    definition: Definition, seed: int
) -> None:
    player = Player(definition, seed)
    play_to_the_end(player)
    assert DAG_COMPLETED[player.run.state.status]


@LAW
@given(flows(), SEEDS)
def test_no_attempt_is_called_twice_and_no_ended_task_is_called_again(
    definition: Definition, seed: int
) -> None:
    player = Player(definition, seed)
    play_to_the_end(player)

    ended: set[str] = set()
    called: Counter[tuple[str, str, int]] = Counter()
    for command in player.run.commands:
        if isinstance(command, DispatchTask):
            assert command.task not in ended
            called[command.key] += command.pattern != polling.PATTERN
        elif isinstance(command, Announce):
            ended.add(command.task or "the execution")
    assert set(called.values()) <= {1}


@LAW
@given(flows(), SEEDS)
def test_every_workflow_ends_after_any_disturbance(definition: Definition, seed: int) -> None:
    player = disturbed(definition, seed)
    if not DAG_COMPLETED[player.run.state.status]:
        player.run.resume()
    play_to_the_end(player)
    assert DAG_COMPLETED[player.run.state.status]
    calls = Counter(
        command.key
        for command in player.run.commands
        if isinstance(command, DispatchTask) and command.pattern != polling.PATTERN
    )
    # A redo after the end orders again, by the same key, the calls that are under way.
    redos = sum(map(begins_anew, player.run.journal))
    assert max(calls.values(), default=0) <= 1 + redos


@LAW
@given(flows(), SEEDS)
def test_an_event_that_is_refused_or_counts_for_nothing_changes_nothing(
    definition: Definition, seed: int
) -> None:
    player = Player(definition, seed)
    for _ in range(20):
        player.disturb()  # the scenario watches every event
        player.step()


@LAW
@given(flows(), SEEDS)
def test_any_prefix_of_the_journal_gives_the_execution_as_it_was(
    definition: Definition, seed: int
) -> None:
    run = disturbed(definition, seed).run
    rebuilt: ExecutionState | None = None
    for event, state in zip(map(written_and_read, run.journal), run.states, strict=True):
        if isinstance(event, ExecutionSubmitted):
            rebuilt, _ = machine.submit(run.plan, event)
        elif rebuilt is not None:
            machine.handle(run.plan, rebuilt, event)
        assert rebuilt is not None
        assert codec.encode_state(rebuilt) == state
        # Nor does it matter whether a snapshot is written, or read, part by part.
        in_parts = codec.encode_large_state(rebuilt)
        assert codec.decode_state(in_parts) == codec.decode_large_state(state) == rebuilt
        assert wants(run, rebuilt) == wants(run, codec.decode_state(state))


@LAW
@given(flows(), SEEDS)
def test_any_snapshot_and_the_journal_behind_it_give_the_same_execution(
    definition: Definition, seed: int
) -> None:
    run = disturbed(definition, seed).run
    records = [codec.encode_event(event) for event in run.journal]
    for seq in range(0, len(records), 5):
        later = replay(run.plan, records[seq + 1 :], run.states[seq])
        assert codec.encode_state(later) == run.states[-1]


@LAW
@given(flows(), SEEDS)
def test_whatever_is_outstanding_was_ordered_before(definition: Definition, seed: int) -> None:
    run = disturbed(definition, seed).run
    check_outstanding(run.plan, run.state, run.commands)


@LAW
@given(flows(), SEEDS)
def test_counters_agree_with_a_recount(definition: Definition, seed: int) -> None:
    player = disturbed(definition, seed)
    state = player.run.state
    assert state.counts == recount(state, "")
    for group in state.groups.values():
        assert group.counts == recount(state, group.route)
        assert group.members == [name for name, t in state.tasks.items() if t.route == group.route]
    for task in state.tasks.values():
        prefix = f"{task.route}-" if task.route else ""
        dependencies = player.run.plan.by_name[task.base].dependencies
        statuses = [state.tasks[prefix + base].status for base in dependencies]
        assert task.waiting == sum(not SATISFIED[status] for status in statuses)
        groups = [state.groups[route].status for route in task.routes]
        assert sum(task.group_counts) == len(groups)
        assert all(groups.count(s) == task.group_counts[s] for s in TaskStatus if groups)


@LAW
@given(flows(), SEEDS)
def test_a_redo_of_what_failed_keeps_what_succeeded_unless_it_follows_a_failure(
    definition: Definition, seed: int
) -> None:
    player = Player(definition, seed)
    play_to_the_end(player)
    run = player.run
    before = {name: (task.status, task.attempt) for name, task in run.state.tasks.items()}
    followers = after_failures(run)
    run.redo(failed_only=True)
    for name, (status, attempt) in before.items():
        if status is TaskStatus.SUCCEED and name not in followers:
            task = run.state.tasks[name]
            assert (task.status, task.attempt) == (status, attempt)


@LAW
@given(flows(), SEEDS)
def test_a_redo_of_what_failed_runs_all_that_failed_and_the_execution_ends_again(
    definition: Definition, seed: int
) -> None:
    player = Player(definition, seed)
    play_to_the_end(player)
    state = player.run.state
    parts = failed_parts(Turn(player.run.plan, state, 0), player.run.plan.level.tasks)
    runs = {name: len(state.tasks[name].invoke.time_infos) for name in parts.targets()}
    had_failed = player.run.status == "FAILED"
    player.run.redo(failed_only=True)
    while state.remaining is not None:
        player.go_on()
    assert had_failed or not runs
    for name, times in runs.items():
        task = state.tasks.get(name)
        assert (
            task is None
            or task.status is not TaskStatus.FAILED
            or len(task.invoke.time_infos) > times
        )
    play_to_the_end(player)
    assert DAG_COMPLETED[state.status]


@LAW
@given(flows(), SEEDS)
def test_no_more_groups_run_at_once_than_may_after_any_redo(
    definition: Definition, seed: int
) -> None:
    player = Player(definition, seed)
    for _ in range(60):
        if player.random.random() < 0.2:
            with suppress(RillflowError):
                player.run.redo(failed_only=True)
        elif not player.step():
            break
        for task in player.run.state.tasks.values():
            if task.most_groups is not None:
                assert task.group_counts[TaskStatus.RUNNING] <= task.most_groups


def after_failures(run: Scenario) -> set[str]:
    """Name what follows a failure, or a task around one, and all that is inside of it."""
    state = run.state
    turn = Turn(run.plan, state, 0)
    failed = [name for name, task in state.tasks.items() if task.status is TaskStatus.FAILED]
    around = {g.parent for name in failed for g in groups_around(turn, turn.task(name))}
    heads = {*failed, *around}
    found = set(restart.with_followers(turn, heads)) - heads
    inside = {
        name
        for name, task in state.tasks.items()
        if any(group.parent in found for group in groups_around(turn, task))
    }
    return found | inside


def play_to_the_end(player: Player) -> None:
    for _ in range(MOST_STEPS):
        if DAG_COMPLETED[player.run.state.status] or not player.step():
            return


def disturbed(definition: Definition, seed: int) -> Player:
    player = Player(definition, seed)
    for _ in range(25):
        if player.random.random() < 0.4:
            player.disturb()
        else:
            player.step()
    return player


def written_and_read(event: Event) -> Event:
    return codec.decode_event(codec.encode_event(event))


def wants(run: Scenario, state: ExecutionState) -> list[Command]:
    return list(machine.outstanding(run.plan, state))


def recount(state: ExecutionState, route: str) -> list[int]:
    members = [task.status for task in state.tasks.values() if task.route == route]
    return [members.count(status) for status in TaskStatus]
