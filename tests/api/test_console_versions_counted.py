"""The page of a workflow tells how many executions of each version there are, and succeeded."""

from collections.abc import Sequence
from typing import Any, Final

from rillflow.ports.storage.execution_search import FoundExecution, NewestCount, Place, Wanted
from rillflow.stores.memory.store import MemoryStore
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import served

COUNTS: Final = "/flow/console/v1/version_counts.json"


class LookedFor(MemoryStore):
    """Notes the searches for a version, without those for no status at all."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[Wanted] = []

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        """Note it, and count."""
        self._note(wanted)
        return await super().count_newest(wanted, most)

    async def search_executions(
        self, wanted: Wanted, *, before: Place | None = None, limit: int
    ) -> list[FoundExecution]:
        """Note it, and search."""
        self._note(wanted)
        return await super().search_executions(wanted, before=before, limit=limit)

    async def count_by_time(self, wanted: Wanted, edges_ms: Sequence[int]) -> list[dict[str, int]]:
        """Note it, and count."""
        self._note(wanted)
        return await super().count_by_time(wanted, edges_ms)

    def _note(self, wanted: Wanted) -> None:
        if wanted.definition_id is not None and wanted.statuses != ():
            self.wanted.append(wanted)


def failing(_: object) -> dict[str, Any]:
    return {"result_type": "FAILED", "error_code": 7, "error_msg": "out of stock"}


def working(_: object) -> dict[str, Any]:
    return {"a": 1}


async def test_the_success_rate_of_each_version_is_told() -> None:
    async with served({"bad": failing, "good": working}) as api:
        good, bad, open_ = [
            (await api.add(text)).rpartition("md5_")[2]
            for text in (calling("good"), calling("bad"), SUSPENDED)
        ]
        for version in (good, good, bad):
            await api.ended(await api.submit(f"shop:order:md5_{version}", {}))
        await api.submit(f"shop:order:md5_{open_}", {})
        unknown = "0" * 32
        named = f"{good},{bad},{open_},{unknown}"
        shown = await api.get(COUNTS, flow="shop:order", versions=named)
        assert {version: each["success_rate"] for version, each in shown["versions"].items()} == {
            good: 1.0,
            bad: 0.0,
            open_: None,
            unknown: None,
        }
        assert shown["versions"][good] == {
            "counts": {"unfinished": 0, "succeeded": 2, "failed": 0},
            "total": 2,
            "success_rate": 1.0,
            "from_ms": None,
            "is_whole": True,
        }
        api.clock.advance(7_200)
        late = await api.get(COUNTS, flow="shop:order", versions=good, since="1h")
        assert late["versions"][good]["total"] == 0
        other = await api.get(COUNTS, flow="zoo:order", versions=good)
        assert other["versions"][good]["total"] == 0


async def test_a_version_that_a_workflow_never_had_is_not_looked_for() -> None:
    store = LookedFor()
    async with served({"good": working}, store=store) as api:
        version = (await api.add(calling("good"))).rpartition("md5_")[2]
        await api.ended(await api.submit(f"shop:order:md5_{version}", {}))
        searches = [
            (COUNTS, {"versions": version}),
            ("/flow/console/v1/executions.json", {"version": version}),
            ("/flow/console/v1/counts.json", {"version": version}),
        ]
        for path, asked_for in searches:
            for flow in ("zoo:order", "shop:other"):
                await api.get(path, flow=flow, **asked_for)
        foreign = await api.get(searches[1][0], flow="zoo", version=version)
        assert (foreign["rows"], store.wanted) == ([], [])
        own = [await api.get(path, flow="shop:order", **asked_for) for path, asked_for in searches]
        assert own[0]["versions"][version]["total"] == len(own[1]["rows"]) == own[2]["total"] == 1


async def test_what_is_malformed_is_refused() -> None:
    async with served({}) as api:
        many = ",".join(f"{number:032x}" for number in range(21))
        for given in (
            {"flow": "shop", "versions": "0" * 32},
            {"flow": "shop:order", "versions": "7"},
            {"flow": "shop:order", "versions": ","},
            {"flow": "shop:order", "versions": many},
            {"flow": "shop:order", "versions": "0" * 32, "since": "yesterday"},
        ):
            status, code, _ = await api.get_refusal(COUNTS, **given)
            assert (status, code) == (400, 30109), given
