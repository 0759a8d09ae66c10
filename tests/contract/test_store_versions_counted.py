"""Every store counts the executions of a version by status, and of many only the newest."""

import pytest

from rillflow.ports.storage.execution_search import NewestCount, Wanted
from rillflow.ports.storage.store import Store
from tests.contract.appends import close, submit

OLD, NEW = "0" * 32, "f" * 32


async def fill(store: Store) -> None:
    """Store six executions of one version and ten of another, of which 11, 13 and 15 failed."""
    await store.append([submit(number, definition_id=OLD) for number in range(1, 7)])
    await store.append([submit(number, definition_id=NEW) for number in range(11, 21)])
    await store.append([close(number, 2, "failed") for number in (11, 13, 15)])
    await store.append([close(number, 2, "succeed") for number in (1, 2, 12, 14, 16, 17)])


def of_version(version: str, from_ms: int | None = None) -> Wanted:
    return Wanted(business="shop", feature="order", definition_id=version, from_ms=from_ms)


async def test_versions_are_counted_by_status(store: Store) -> None:
    await fill(store)
    assert await store.count_newest(of_version(OLD), 100) == NewestCount(
        {"RUNNING": 4, "succeed": 2}, None, is_whole=True, oldest_ms=1
    )
    assert await store.count_newest(of_version(NEW), 100) == NewestCount(
        {"RUNNING": 3, "failed": 3, "succeed": 4}, None, is_whole=True, oldest_ms=11
    )


async def test_a_version_of_many_is_counted_over_its_newest(store: Store) -> None:
    await fill(store)
    # The newest three that succeeded are 14, 16 and 17, the newest three that run 18 to 20.
    found = await store.count_newest(of_version(NEW), 3)
    assert found == NewestCount({"RUNNING": 3}, 18, is_whole=False, oldest_ms=18)
    found = await store.count_newest(of_version(NEW), 4)
    counts = {"RUNNING": 3, "failed": 2, "succeed": 4}
    assert found == NewestCount(counts, 12, is_whole=False, oldest_ms=12)


async def test_the_newest_of_all_workflows_and_of_a_workspace_are_counted(store: Store) -> None:
    await fill(store)
    await store.append([submit(number, feature="pay") for number in (21, 22)])
    for wanted in (Wanted(), Wanted(business="shop")):
        assert await store.count_newest(wanted, 100) == NewestCount(
            {"RUNNING": 9, "failed": 3, "succeed": 6}, None, is_whole=True, oldest_ms=1
        )
    # Two workflows share what is counted: of each the newest one that runs, since the younger.
    found = await store.count_newest(Wanted(business="shop", statuses=("RUNNING",)), 2)
    assert (found.from_ms, found.is_whole) == (22, False)
    found = await store.count_newest(Wanted(statuses=("failed",)), 2)
    assert found == NewestCount({"failed": 2}, 13, is_whole=False, oldest_ms=13)
    found = await store.count_newest(Wanted(statuses=()), 2)
    assert found == NewestCount({}, None, is_whole=True, oldest_ms=None)


async def test_versions_are_counted_since_a_time(store: Store) -> None:
    await fill(store)
    found = await store.count_newest(of_version(NEW, from_ms=15), 100)
    counts = {"RUNNING": 3, "failed": 1, "succeed": 2}
    assert found == NewestCount(counts, 15, is_whole=True, oldest_ms=15)


@pytest.mark.parametrize(("business", "feature"), [("zoo", "order"), ("shop", "pay")])
async def test_a_version_is_counted_for_its_workflow_only(
    store: Store, business: str, feature: str
) -> None:
    await fill(store)
    wanted = Wanted(business=business, feature=feature, definition_id=NEW)
    found = await store.count_newest(wanted, 100)
    assert found == NewestCount({}, None, is_whole=True, oldest_ms=None)
