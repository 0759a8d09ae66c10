"""How late triggers are that fire in the same second, and what triggers cost that wait.

    python -m tests.bench.firing [--triggers N] [--waiting N]

Each trigger starts an execution of one task that does nothing. An execution is late by the time
from when it was due until it was on disk.
"""

import argparse
import os
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from rillflow.runtime.process.clock import SystemClock
from tests.bench.stacks import Scene
from tests.bench.workloads import ADD, definition
from tests.cluster.processes import OwnStack
from tests.loopback import closed_port

CLOCK: Final = SystemClock()
GOAL_MS: Final = 200
LEAST_MS: Final = 20
LATENESS: Final = "rillflow_trigger_lateness_seconds"
ADDERS: Final = 16
FIRED: Final = "bench"
WAITING: Final = "waiting"
QUIET_S: Final = 20.0
PATIENCE_S: Final = 120.0
_LINE: Final = re.compile(rf'{LATENESS}_(bucket|count|sum){{(?:.*?le="([^"]+)")?.*}} (\S+)')


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--triggers", type=int, default=1_000, help="in the same second (1,000)")
    parser.add_argument("--waiting", type=int, default=10_000, help="that wait (10,000)")
    chosen = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores before")
    with _stage() as (stage, api):
        if chosen.triggers:
            _report_lateness(stage, api, chosen.triggers)
        if chosen.waiting:
            _report_waiting(stage, api, chosen.waiting)


@contextmanager
def _stage() -> Iterator[tuple[Scene, httpx.Client]]:
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        stack = OwnStack(Path(folder) / "data", closed_port())
        stack.start()
        try:
            with httpx.Client(base_url=stack.base_url, timeout=60, trust_env=False) as api:
                tasks: list[dict[str, Any]] = [{"name": "nothing", "category": "pass"}]
                for workspace in (FIRED, WAITING):  # one has room for 10,000 triggers
                    address = {"business_id": workspace, "feature_name": "fired"}
                    text = definition("fired", tasks, workspace)
                    added = api.post(ADD, params={**address, "alias": "release"}, content=text)
                    added.raise_for_status()
                yield Scene(stack, "", up_s=0, seconds=0, full=False), api
        finally:
            stack.stop()


def _add(api: httpx.Client, workspace: str, cron: str, count: int) -> None:
    params = {"type": "cron", "descriptor_id": f"{workspace}:fired"}
    body = {"cron": cron, "context": {"a": 1}}

    def add(number: int) -> None:
        with httpx.Client(base_url=api.base_url, timeout=60, trust_env=False) as own:
            for _ in range(number, count, ADDERS):
                added = own.post("/flow/trigger/add_trigger.json", params=params, json=body)
                assert added.json().get("code") == 0, added.text

    with ThreadPoolExecutor(ADDERS) as adders:
        list(adders.map(add, range(ADDERS)))


def _report_lateness(stage: Scene, api: httpx.Client, count: int) -> None:
    _add(api, FIRED, "0 0 0 1 1 ?", 1)  # what is used first is loaded
    at_s = CLOCK.now_ms() / 1000 + 5 + count / 100
    _add(api, FIRED, time.strftime("%S %M %H %d %m ?", time.gmtime(at_s)), count)
    assert CLOCK.now_ms() / 1000 < at_s, "they took too long to add"
    before = stage.cpu_s_by_process()
    give_up = time.monotonic() + PATIENCE_S
    while (found := _lateness(api)).get("count", 0) < count:
        assert time.monotonic() < give_up, found
        time.sleep(1)
    print(f"{count:,} triggers of one second; on disk, of all:")
    for bound, number in found.items():
        if bound not in {"count", "sum"}:
            print(f"  within {bound} s: {number / count:.1%}")
        if number >= count:
            break
    spent = stage.cpu_s_by_process()
    for name in sorted(spent):
        used_ms = (spent[name] - before.get(name, 0.0)) * 1000
        if used_ms >= LEAST_MS:
            print(f"  {used_ms:.0f} ms of processor time in {name}")
    print(f"  on average {found['sum'] / count * 1000:.0f} ms late (goal: all within {GOAL_MS} ms)")


def _lateness(api: httpx.Client) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in api.get("/metrics").text.splitlines():
        read = _LINE.match(line)
        if read is not None:
            name = read[2] or read[1]
            found[name] = found.get(name, 0.0) + float(read[3])
    return found


def _report_waiting(stage: Scene, api: httpx.Client, count: int) -> None:
    before = _idle(stage)
    memory = stage.memory_bytes()
    _add(api, WAITING, "0 0 0 1 1 ?", count)
    time.sleep(QUIET_S / 2)
    after = _idle(stage)
    more = (stage.memory_bytes() - memory) / 2**20
    print(f"an idle stack: {before:.2%} of a core; with {count:,} triggers that wait: {after:.2%}")
    print(f"  and {more:.0f} MiB more of memory")


def _idle(stage: Scene) -> float:
    """Return the share of a core that the stack uses while nothing is done."""
    began = stage.cpu_s()
    time.sleep(QUIET_S)
    return (stage.cpu_s() - began) / QUIET_S


if __name__ == "__main__":
    main()
