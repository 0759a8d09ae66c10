"""The page of a workflow tells how many executions of each version there are, and succeeded."""

from typing import Any, Final

from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import served

COUNTS: Final = "/flow/console/v1/version_counts.json"


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
