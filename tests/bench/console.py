"""How the console behaves with many executions, many tasks and many items.

    python -m tests.bench.console [--executions 100000] [--tasks 1000] [--items 10000]

Fills a SQLite store with rows, runs a stack on it, and looks at it in Chromium
(`tests/cluster/browsers.py`). Prints how long it took from opening the address to the first rows of
the list, and to the newest ones found by a search. Then scrolls the list, and drags the graph of a
wide execution and that of a foreach with an item open. Prints the frames a second that
the browser drew meanwhile, how many took longer than two frames of 60 a second, how much processor
time all processes of the browser took for one, and, as a trace tells, how long the page itself was
busy in each frame: its main thread, which runs scripts and lays out. A browser without a graphics
card draws with the processor, which all of this shares; the time of the main thread does not
contain that.

Used by `tests/cluster/test_console_speed.py`.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, expect

from tests.bench.many_executions import fill
from tests.bench.stacks import cpu_s, program_of
from tests.bench.workloads import definition
from tests.cluster.api import Api
from tests.cluster.browsers import Visit, running
from tests.cluster.processes import OwnStack, descendants
from tests.loopback import closed_port

LAYERS: Final = 40
_GROUND: Final = """() => {
    const box = document.querySelector(".react-flow__pane").getBoundingClientRect();
    for (let x = box.left + 200; x < box.right - 200; x += 7)
        for (let y = box.bottom - 40; y > box.top + 40; y -= 7)
            if (document.elementFromPoint(x, y).matches(".react-flow__pane")) return [x, y];
}"""
"""A place of the graph where no task is, by which it is dragged."""
_IS_STILL: Final = """() => {
    const place = document.querySelector(".react-flow__viewport").style.transform;
    const before = window.placeBefore;
    window.placeBefore = place;
    return place === before;
}"""
ROUNDS: Final = 5
DRAG_STEPS: Final = 120
LATE_MS: Final = 1000 / 30
_TRACED: Final = ("devtools.timeline", "toplevel", "disabled-by-default-devtools.timeline")
_FRAME: Final = "FireAnimationFrame"
_TASK: Final = "RunTask"
_COLLECT: Final = """() => {
    const times = (window.frameTimes = []);
    const note = (time) => {
        times.push(time);
        if (window.frameTimes === times) requestAnimationFrame(note);
    };
    requestAnimationFrame(note);
}"""
_COLLECTED: Final = (
    "() => { const times = window.frameTimes; window.frameTimes = []; return times }"
)


def wide(tasks: int) -> str:
    """A flow of so many tasks in layers, each of which leads to one of the next layer."""
    width = max(1, tasks // LAYERS)
    return definition(
        "wide",
        [
            {"name": f"t{number}", "category": "pass"}
            | ({"next": f"t{number + width}"} if number + width < tasks else {})
            for number in range(tasks)
        ],
    )


def loop() -> str:
    """A foreach over the submitted ``items``, with two tasks for each."""
    each = {
        "name": "each",
        "category": "foreach",
        "iterationMapping": {"collection": "$.input.items", "item": "n"},
        "inputMappings": [{"source": "$.context.items", "target": "$.input.items"}],
        "tasks": [
            {"name": "first", "category": "pass", "next": "second"},
            {"name": "second", "category": "pass"},
        ],
    }
    return definition("loop", [each])


def opening_ms(browser: Browser, base_url: str, address: str) -> float:
    """Return how long a new browser takes to show the first rows."""
    visit = Visit(browser, base_url)
    begun_s = time.perf_counter()
    visit.open(address)
    visit.page.locator(".execution-row:not(.head)").first.wait_for()
    took_ms = (time.perf_counter() - begun_s) * 1000
    visit.close()
    return took_ms


def print_openings(browser: Browser, base_url: str) -> None:
    """Print how long the list takes to be there, cold, and found by a search."""
    for what, address in (
        ("the list", "executions"),
        ("failed ones", "executions?q=status%3Afailed"),
        ("a flow", "executions?q=flow%3Abench%3Aflow3"),
    ):
        took = sorted(opening_ms(browser, base_url, address) for _ in range(ROUNDS))
        print(f"first rows of {what:34}{statistics.median(took):8.0f} ms{took[-1]:8.0f} ms at most")


def print_frames(what: str, page: Page, move: Any) -> None:
    """Print how many frames were drawn while something moved, and how long the page took for one.

    It is moved twice, since tracing takes time too.
    """
    cpu_s = browser_cpu_s()
    lengths = frames_ms(page, move)
    cpu_ms = (browser_cpu_s() - cpu_s) * 1000 / len(lengths)
    per_s = 1000 * len(lengths) / sum(lengths)
    late = sum(length > LATE_MS for length in lengths)
    busy = busy_ms(page, move)
    p50, p95 = (busy[len(busy) * percent // 100] for percent in (50, 95))
    drawn = f"{per_s:8.1f} frames/s{late:6} of {len(lengths)} late; CPU {cpu_ms:.1f} ms"
    print(f"{what:48}{drawn}; busy {p50:.1f} ms, p95 {p95:.1f}, longest {busy[-1]:.0f}", flush=True)


def frames_ms(page: Page, move: Any) -> list[float]:
    """Return how long each frame took that was drawn while something moved."""
    page.evaluate(_COLLECT)
    move(page)
    times: list[float] = page.evaluate(_COLLECTED)
    return [second - first for first, second in pairwise(times)]


def browser_cpu_s() -> float:
    """Return the processor time that the processes of the browser have used."""
    return sum(cpu_s(pid) for pid in descendants(os.getpid()) if "chrom" in program_of(pid))


def busy_ms(page: Page, move: Any) -> list[float]:
    """Return how long the main thread was busy in each frame while something moved, sorted."""
    browser = page.context.browser
    assert browser is not None
    browser.start_tracing(page=page, categories=list(_TRACED))
    page.evaluate(_COLLECT)
    move(page)
    page.evaluate(_COLLECTED)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    begins = [event for event in events if event["name"] == _FRAME]
    threads = statistics.multimode((event["pid"], event["tid"]) for event in begins)
    starts = sorted(event["ts"] for event in begins if (event["pid"], event["tid"]) == threads[0])
    frames = [0.0] * (len(starts) + 1)
    for event in events:
        if event["name"] == _TASK and (event["pid"], event["tid"]) == threads[0]:
            frames[bisect_right(starts, event["ts"])] += event.get("dur", 0) / 1000
    # What came before the first frame and after the last one is of no frame.
    return sorted(frames[1:-1])


def settle(page: Page) -> None:
    """Wait until the graph is there and lies still."""
    expect(page.locator(".react-flow__node").first).to_be_visible()
    page.wait_for_function(_IS_STILL, polling=500)


def drag(page: Page) -> None:
    """Drag the graph here and there."""
    x, y = page.evaluate(_GROUND)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(DRAG_STEPS):
        away = 150 - abs(step % 60 - 30) * 10
        page.mouse.move(x + away, y - away / 2)
    page.mouse.up()


def scroll(page: Page) -> None:
    """Scroll down the list, which loads pages."""
    page.mouse.move(600, 500)
    for _ in range(DRAG_STEPS):
        page.mouse.wheel(0, 120)


def run(browser: Browser, base_url: str, api: Api, tasks: int, items: int) -> None:
    """Measure the pages of a stack that is full."""
    print_openings(browser, base_url)
    visit = Visit(browser, base_url)
    page = visit.open("executions")
    page.locator(".execution-row:not(.head)").first.wait_for()
    print_frames("scrolling the list", page, scroll)
    graph = api.submit(f"{wide(tasks)}\n", {}, wait_s=60)
    page.goto(f"{base_url}/console#/execution/{graph}")
    settle(page)
    print_frames(f"dragging {tasks:,} tasks", page, drag)
    group = api.submit(f"{loop()}\n", {"items": list(range(items))}, wait_s=120)
    page.goto(f"{base_url}/console#/execution/{group}?open=each_{items // 2}")
    settle(page)
    print_frames(f"dragging a foreach of {items:,}, an item open", page, drag)
    visit.close()


def main() -> None:
    """Fill a store, start a stack, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--items", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        data_dir = Path(folder) / "data"
        data_dir.mkdir()
        url = f"sqlite://{data_dir / 'rillflow.db'}"
        known = asyncio.run(
            fill(url, chosen.executions, time.time_ns() // 1_000_000, are_shown=True)
        )
        print(json.dumps({"executions": chosen.executions, "flow": known.flow}))
        stack = OwnStack(data_dir, closed_port())
        try:
            stack.start()
            with Api(stack.base_url) as api, running() as browser:
                run(browser, stack.base_url, api, chosen.tasks, chosen.items)
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
