"""What runs becomes what is wanted, by steps that end and that never mix two partition maps."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rillflow.ports.deployment import Deployment
from rillflow.runtime.supervision.convergence import (
    DEDICATED,
    DISPATCHER,
    EXECUTION,
    End,
    Kind,
    Replace,
    Running,
    Start,
    Step,
    Wait,
    next_step,
    sentence_of,
)
from tests.deployments import FIRST as OF_ONE

FIRST = replace(OF_ONE, execution_actors=2)
CHANGED = replace(FIRST, version=2, settings_digest="b")
WIDER = replace(FIRST, version=2, partition_map=2, execution_actors=3)
MOST_STEPS = 60


def names_of(wanted: Deployment) -> list[tuple[str, Kind]]:
    dispatchers: list[tuple[str, Kind]] = [
        (f"d{number}", DISPATCHER) for number in range(wanted.dispatcher_actors)
    ]
    return [*dispatchers, *((f"e{number}", EXECUTION) for number in range(wanted.execution_actors))]


def running(deployed: Deployment, **changes: Running) -> list[Running]:
    """Return all actors of a deployment; the given ones in the place of some, or in addition."""
    actors = {name: Running(name, kind, deployed) for name, kind in names_of(deployed)}
    return list({**actors, **changes}.values())


def step(wanted: Deployment, actors: Sequence[Running], **left: Sequence[str]) -> Step | None:
    return next_step(wanted, names_of(wanted), actors, **left)


def test_nothing_is_to_do_where_everything_is_as_wanted() -> None:
    assert step(FIRST, running(FIRST)) is None


def test_dispatchers_start_before_execution_actors() -> None:
    assert step(FIRST, []) == Start(("d0",))
    assert step(FIRST, [Running("d0", DISPATCHER, FIRST)]) == Start(("e0", "e1"))


def test_changed_settings_replace_one_actor_after_the_other() -> None:
    actors = running(FIRST)
    assert step(CHANGED, actors) == Replace("d0")
    actors[0] = Running("d0", DISPATCHER, CHANGED)
    assert step(CHANGED, actors) == Replace("e0")


def test_other_secrets_or_other_code_replace_actors_as_other_settings_do() -> None:
    for other in ({"secrets_digest": "x"}, {"code_version": "2/1"}):
        assert step(replace(FIRST, **other), running(FIRST)) == Replace("d0")


def test_code_that_only_one_node_has_is_told_and_nothing_is_started_again_for_it() -> None:
    other = Running("e1", EXECUTION, FIRST, code_version="0/1")
    told = step(FIRST, running(FIRST, e1=other))
    assert isinstance(told, Wait)
    assert told.may_last
    assert told.reason.startswith("e1 runs other code than was deployed: install ")
    assert step(CHANGED, running(FIRST, e1=other)) == Replace("d0")


def test_an_actor_of_a_release_that_tells_no_version_is_out_of_date() -> None:
    actors = running(CHANGED, d0=Running("d0", DISPATCHER, None))
    assert step(CHANGED, actors) == Replace("d0")


def test_no_other_actor_is_replaced_before_the_new_one_takes_calls() -> None:
    actors = running(FIRST, d0=Running("d0", DISPATCHER, CHANGED, is_ready=False))
    assert step(CHANGED, actors) == Wait("d0 starts")


def test_an_outdated_actor_that_does_not_start_is_replaced() -> None:
    actors = running(FIRST, e1=Running("e1", EXECUTION, FIRST, is_ready=False))
    assert step(CHANGED, actors) == Replace("e1")


def test_all_owners_of_another_map_end_before_one_of_the_wanted_map_starts() -> None:
    actors = running(FIRST)
    assert step(WIDER, actors) == End(("e0", "e1"))
    assert step(WIDER, [actors[0], actors[2]]) == End(("e1",))
    dispatcher = Running("d0", DISPATCHER, WIDER)
    assert step(WIDER, [dispatcher]) == Start(("e0", "e1", "e2"))


def test_a_silent_owner_that_may_have_another_map_ends_with_those() -> None:
    actors = running(FIRST, e1=Running("e1", EXECUTION, None, is_silent=True))
    assert step(WIDER, actors) == End(("e0", "e1"))


def test_owners_on_another_store_end_together() -> None:
    assert step(replace(CHANGED, store_id="t"), running(FIRST)) == End(("e0", "e1"))


def test_a_silent_actor_of_one_execution_holds_nobody_up_and_is_replaced_in_the_end() -> None:
    actors = running(FIRST, x=Running("x", DEDICATED, None, is_silent=True))
    assert step(FIRST, actors) is None
    assert step(CHANGED, actors) == Replace("d0")
    assert step(FIRST, actors, given_up=["x"]) == Replace("x", is_silent=True)


def test_a_silent_actor_is_waited_for_and_ended_when_that_was_in_vain() -> None:
    actors = running(FIRST, e1=Running("e1", EXECUTION, None, is_silent=True))
    assert step(FIRST, actors) == Wait("e1 does not answer")
    assert step(FIRST, actors, given_up=["e1"]) == End(("e1",))


def test_a_dispatcher_too_many_ends_when_no_owner_is_out_of_date() -> None:
    wanted = replace(FIRST, version=2, dispatcher_actors=1)
    before = replace(FIRST, dispatcher_actors=2)
    actors = running(wanted, d1=Running("d1", DISPATCHER, before))
    assert step(wanted, actors) == End(("d1",))
    actors[1] = Running("e0", EXECUTION, before)
    assert step(wanted, actors) == Replace("e0")


def test_dedicated_actors_are_replaced_last() -> None:
    own = Running("x", DEDICATED, FIRST)
    assert step(CHANGED, running(CHANGED, x=own)) == Replace("x")
    assert step(CHANGED, running(FIRST, x=own)) == Replace("d0")


def test_a_dedicated_actor_that_starts_may_not_know_yet_what_it_was_started_with() -> None:
    starts = Running("x", DEDICATED, None, is_ready=False)
    assert step(FIRST, running(FIRST, x=starts)) is None
    assert step(FIRST, running(FIRST, x=starts._replace(is_ready=True))) == Replace("x")


def test_who_does_not_finish_is_left_alone_for_a_while_and_named() -> None:
    actors = running(FIRST)
    assert step(CHANGED, actors, stays=["d0"]) == Replace("e0")
    actors = running(CHANGED, d0=Running("d0", DISPATCHER, FIRST))
    waits = Wait("d0 did not finish the calls under way", may_last=True)
    assert step(CHANGED, actors, stays=["d0"]) == waits


def test_who_does_not_start_is_not_started_again_at_once_and_stops_the_deployment() -> None:
    assert step(FIRST, [], failing=["d0"]) == Start(("e0", "e1")), "the others start"
    outdated = [Running("e0", EXECUTION, FIRST), Running("e1", EXECUTION, FIRST)]
    assert step(CHANGED, outdated, failing=["d0"]) == Wait("d0 does not start")
    assert step(CHANGED, outdated) == Start(("d0",)), "after the pause"


def test_a_controller_of_an_earlier_deployment_touches_nothing() -> None:
    actors = running(FIRST, d0=Running("d0", DISPATCHER, CHANGED))
    assert step(FIRST, actors) == Wait("d0 was started by a later deployment")


def test_a_later_version_of_another_store_is_no_later_deployment() -> None:
    of_other_store = replace(FIRST, store_id="t", version=7)
    own = Running("x", DEDICATED, of_other_store)
    assert step(FIRST, running(FIRST, x=own)) == Replace("x")
    dispatcher = Running("d1", DISPATCHER, of_other_store)
    assert step(FIRST, running(FIRST, d1=dispatcher)) == End(("d1",))


class Cluster:
    """Actors on which steps are carried out; each start takes until the next look."""

    def __init__(self, actors: Sequence[Running]) -> None:
        self.actors = {actor.name: actor for actor in actors}
        self.starts: Counter[str] = Counter()

    def look(self) -> list[Running]:
        seen = list(self.actors.values())
        self.actors = {
            name: actor._replace(is_ready=True) if not actor.is_silent else actor
            for name, actor in self.actors.items()
        }
        return seen

    def carry_out(self, wanted: Deployment, todo: Step) -> None:
        kinds = dict(names_of(wanted))
        match todo:
            case Start(names):
                for name in names:
                    assert name not in self.actors
                    self._start(name, kinds[name], wanted)
            case Replace(name):
                self._start(name, self.actors[name].kind, wanted)
            case End(names):
                for name in names:
                    del self.actors[name]
            case Wait():
                pass

    def _start(self, name: str, kind: Kind, wanted: Deployment) -> None:
        self.starts[name] += 1
        self.actors[name] = Running(name, kind, wanted, is_ready=False)
        if kind == EXECUTION:
            owners = [each for each in self.actors.values() if each.kind == EXECUTION]
            maps = {each.deployment.partition_map for each in owners if each.deployment}
            assert len(maps) == 1, "two partition maps at once"
            assert not [each for each in owners if each.deployment is None], "perhaps another map"


deployments = st.builds(
    lambda versions, **others: Deployment(
        store_id=versions[0], version=versions[1], partition_map=versions[2], **others
    ),
    versions=st.one_of(
        st.tuples(st.just("s"), st.integers(1, 3), st.integers(1, 3)),
        st.tuples(st.just("t"), st.integers(1, 9), st.integers(1, 9)),
    ),
    settings_digest=st.sampled_from("ab"),
    code_version=st.just("1/1"),
    execution_actors=st.integers(1, 4),
    dispatcher_actors=st.integers(1, 3),
)
actors_of_any_state = st.builds(
    lambda kind, number, deployed, is_silent, is_ready: Running(
        f"{kind[0]}{number}" if kind != DEDICATED else f"own{number}",
        kind,
        None if is_silent else deployed,
        is_silent,
        is_ready and not is_silent,
    ),
    st.sampled_from([EXECUTION, DISPATCHER, DEDICATED]),
    st.integers(0, 5),
    st.none() | deployments,
    st.booleans(),
    st.booleans(),
)


@given(
    actors=st.lists(actors_of_any_state, max_size=12, unique_by=lambda each: each.name),
    execution_actors=st.integers(1, 4),
    dispatcher_actors=st.integers(1, 3),
)
def test_whatever_runs_becomes_what_is_wanted_and_no_actor_starts_twice(
    actors: list[Running], execution_actors: int, dispatcher_actors: int
) -> None:
    wanted = replace(
        FIRST,
        version=4,
        partition_map=4,
        execution_actors=execution_actors,
        dispatcher_actors=dispatcher_actors,
    )
    cluster = Cluster(actors)
    for _ in range(MOST_STEPS):
        seen = cluster.look()
        silent = [each.name for each in seen if each.is_silent]
        todo = step(wanted, seen, given_up=silent)
        if todo is None:
            break
        cluster.carry_out(wanted, todo)
    else:
        raise AssertionError("it does not come to an end")
    stack = {name for name, each in cluster.actors.items() if each.kind != DEDICATED}
    assert stack == {name for name, _ in names_of(wanted)}
    assert all(each.deployment == wanted for each in cluster.actors.values() if not each.is_silent)
    assert max(cluster.starts.values(), default=0) <= 1


def test_a_step_is_told_of_one_actor_and_of_several() -> None:
    assert sentence_of(Start(("a",)), FIRST) == "a is being started"
    assert sentence_of(Start(("a", "b")), FIRST) == "a, b are being started"
    assert sentence_of(End(("a", "b")), FIRST) == "a, b are being ended"


@pytest.mark.parametrize(
    ("earlier", "with_what"),
    [
        (FIRST, ""),
        (replace(FIRST, settings_digest="other"), ", other settings"),
        (replace(FIRST, secrets_digest="other"), ", other secrets"),
        (
            replace(FIRST, code_version="0.9", dispatcher_actors=3),
            f", code 0.9 in place of {FIRST.code_version}, dispatchers: 3 in place of 1",
        ),
    ],
)
def test_who_is_replaced_is_told_with_what_it_was_started_with(
    earlier: Deployment, with_what: str
) -> None:
    wanted = replace(FIRST, version=2)
    actors = running(earlier)
    todo = step(wanted, actors)
    assert todo == Replace("d0")
    version = "version 1 of the deployment in place of 2"
    told = f"d0 is being replaced, since it was started with {version}{with_what}"
    assert sentence_of(todo, wanted, actors) == told


def test_who_is_replaced_without_saying_what_it_was_started_with_is_told_too() -> None:
    actors = [Running("d0", DISPATCHER, None)]
    told = "d0 is being replaced, since it was started with what it does not say"
    assert sentence_of(Replace("d0"), FIRST, actors) == told
    actors = running(replace(FIRST, store_id="other"))
    told = "d0 is being replaced, since it was started with another store"
    assert sentence_of(Replace("d0"), FIRST, actors) == told
    told = "d0 is being replaced, since it does not answer"
    assert sentence_of(Replace("d0", is_silent=True), FIRST, actors) == told
