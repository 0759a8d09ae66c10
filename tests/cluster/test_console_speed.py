"""The console is quick with many executions in the store, and smooth with many tasks.

The bounds are several times what was measured, since other tests run at the same time; the figures
themselves are told by ``python -m tests.bench.console``.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import pytest
from playwright.sync_api import Browser

from tests.bench.console import busy_ms, drag, frames_ms, opening_ms, settle, wide
from tests.bench.many_executions import fill
from tests.cluster.api import Api
from tests.cluster.browsers import Visit
from tests.cluster.processes import OwnStack
from tests.loopback import closed_port
from tests.machine_speed import least

pytestmark = pytest.mark.cluster

MOST_OPENING_MS: Final = 3_000
"""From opening the address in a browser that has kept nothing to the first rows."""
MOST_FRAME_MS: Final = 1000 / 30
"""The frames drawn while a graph is dragged, on average; a screen shows one each 16.7 ms."""
MOST_BUSY_MS: Final = 1000 / 60
"""What the page itself does in the usual one of them, so that the next is not late."""
MOST_TRIES: Final = 4
"""The time that these take is the browser's, so the patience of this process would hardly end."""
PLACE: Final = "() => document.querySelector('.react-flow__viewport').style.transform"


class Sizes(NamedTuple):
    """How many executions are in the store, and how many tasks a graph has."""

    executions: int
    tasks: int


@pytest.fixture(
    name="sizes",
    scope="module",
    params=[
        pytest.param(Sizes(5_000, 200), id="some"),
        pytest.param(Sizes(100_000, 1_000), id="many", marks=pytest.mark.long),
    ],
)
def _sizes(request: pytest.FixtureRequest) -> Sizes:
    sizes = request.param
    assert isinstance(sizes, Sizes)
    return sizes


@pytest.fixture(name="full", scope="module")
def _full(sizes: Sizes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A stack that finds so many executions in its store."""
    data_dir = tmp_path_factory.mktemp("full") / "data"
    data_dir.mkdir()
    url = f"sqlite://{data_dir / 'rillflow.db'}"
    now_ms = time.time_ns() // 1_000_000
    with ThreadPoolExecutor(1) as apart:  # in this thread runs the loop of the browser
        apart.submit(asyncio.run, fill(url, sizes.executions, now_ms, are_shown=True)).result()
    stack = OwnStack(data_dir, closed_port())
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.mark.parametrize("address", ["executions", "executions?q=status%3Afailed"])
def test_the_first_rows_are_soon_there(browser: Browser, full: OwnStack, address: str) -> None:
    opening = least(
        lambda: opening_ms(browser, full.base_url, address),
        MOST_OPENING_MS,
        most_tries=MOST_TRIES,
    )
    assert opening < MOST_OPENING_MS


def test_a_graph_is_dragged_smoothly(browser: Browser, full: OwnStack, sizes: Sizes) -> None:
    with Api(full.base_url) as api:
        execution = api.submit(f"{wide(sizes.tasks)}\n", {}, wait_s=60)
    visit = Visit(browser, full.base_url)
    page = visit.open(f"execution/{execution}")
    settle(page)
    place = page.evaluate(PLACE)

    def frame_ms() -> float:
        lengths = frames_ms(page, drag)
        return sum(lengths) / len(lengths)

    def usual_busy_ms() -> float:
        busy = busy_ms(page, drag)
        return busy[len(busy) // 2]

    assert least(frame_ms, MOST_FRAME_MS, most_tries=MOST_TRIES) < MOST_FRAME_MS
    assert page.evaluate(PLACE) != place
    assert least(usual_busy_ms, MOST_BUSY_MS, most_tries=MOST_TRIES) < MOST_BUSY_MS
    visit.close()
