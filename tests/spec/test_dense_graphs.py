"""Work grows with the edges of a graph, not with their number times that of the tasks."""

from collections.abc import Callable

import pytest

from rillflow.testing import Scenario
from tests.spec.notation import Definition, pass_, scenario, susp
from tests.unit.test_linear_readers import lines_of

WIDTH = 10


def never(name: str, to: str) -> Definition:
    return susp(name, "false", to=to)


def in_key_mode(length: int) -> Scenario:
    """Tasks that all lead to the same ones, which may start in key mode; one is never done."""
    names = [f"C{number}" for number in range(WIDTH)]
    first = [pass_(f"B{number}", to=",".join(names)) for number in range(length)]
    last = [pass_(name, keyCallback=True) for name in names]
    return scenario(*first, never("Z", ",".join(names)), *last)


def fed_by_streams(length: int) -> Scenario:
    """Many tasks beside streams that nothing feeds."""
    names = [f"C{number}" for number in range(WIDTH)]
    silent = [never(f"B{number}", ",".join(names)) for number in range(length)]
    streams = [pass_(name, inputType="stream") for name in names]
    return scenario(*silent, *streams, *(pass_(f"D{number}") for number in range(length)))


def skipped(length: int) -> Scenario:
    """Tasks that are skipped before the same ones, which wait for another one besides."""
    names = [f"C{number}" for number in range(WIDTH)]
    first = [f"B{number}" for number in range(length)]
    head = pass_("H", to=",".join(first), degrade={"followings": True})
    middle = [pass_(name, to=",".join(names)) for name in first]
    return scenario(head, *middle, never("Z", ",".join(names)), *map(pass_, names))


@pytest.mark.parametrize("graph", [in_key_mode, fed_by_streams, skipped])
def test_twice_as_many_tasks_take_twice_as_long(graph: Callable[[int], Scenario]) -> None:
    def lines(length: int) -> int:
        return lines_of(graph(length).submit)

    assert lines(200) < 2.6 * lines(100)
