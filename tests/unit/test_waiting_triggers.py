"""Triggers wait for room in turn by workspace; choosing one takes no time by their number."""

from collections import Counter
from typing import Final

from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.sources.waiting import WaitingTriggers

MANY: Final = 10_000


def row(workspace: str, number: int) -> TriggerRow:
    trigger_id = f"{workspace}{number}"
    return TriggerRow(id=trigger_id, type="kafka", descriptor_id=f"{workspace}:order")


class Looked(Counter[str]):
    """Numbers that count how often they are looked up."""

    looks = 0

    def get(self, key: str, default: int = 0) -> int:  # type: ignore[override]
        self.looks += 1
        return super().get(key, default)


def test_the_workspace_with_the_fewest_is_next_and_its_first_trigger() -> None:
    waiting = WaitingTriggers()
    for each in (row("a", 1), row("a", 2), row("b", 1), row("a", 1)):
        waiting.add(each)
    number = Counter[str]()
    found = []
    while (following := waiting.next(number)) is not None:
        found.append(following.id)
        number[following.descriptor_id.partition(":")[0]] += 1
        waiting.discard(following.id)
    assert found == ["a2", "b1", "a1"]
    waiting.discard("a1")
    assert not waiting


def test_choosing_looks_at_workspaces_and_not_at_triggers() -> None:
    waiting, number = WaitingTriggers(), Looked()
    for workspace in ("a", "b"):
        for each in range(MANY):
            waiting.add(row(workspace, each))
    for _ in range(100):
        following = waiting.next(number)
        assert following is not None
        waiting.discard(following.id)
        waiting.add(following)
    assert number.looks == 200
    assert len(waiting) == 2 * MANY
