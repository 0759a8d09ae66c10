"""An error is freed, with all that its traceback refers to, once nobody handles it any more.

Where a frame that an error passes has a name for the future that brings it, they keep each other,
and texts of megabytes with them, until the garbage collector comes by. That counts objects and not
bytes.
"""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NoReturn

import pytest

from rillflow.errors import LanguageError, RequestError
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.runtime.aio.author_threads import AuthorThreads
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.aio.thread_pool import BoundedThreads, FairPriorityThread
from rillflow.testing import Scenario

SMALL = 10
UNREADABLE = """
workspace: shop
dagName: unreadable
type: flow
tasks:
- name: A
  category: pass
  inputMappings:
  - {source: "$.context.a.nope()", target: $.input.a}
  - {transform: "return context.a / 0;", target: $.input.b}
- name: B
  category: foreach
  iterationMapping: {collection: "$.input.a.nope()", item: each}
  inputMappings: [{source: $.context.a, target: $.input.a}]
  tasks: [{name: C, category: pass}]
"""


class Text:
    """Stands for what a request or a call has brought."""


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def _refuse(text: Text) -> NoReturn:
    raise RequestError(f"{text} is refused")


async def _by_fair_thread(text: Text) -> None:
    await FairThread(most=1, most_of_one=1, name="works").run("shop", partial(_refuse, text))


async def _by_priority_thread(text: Text) -> None:
    thread = FairPriorityThread(most=1, most_of_one=1, name="works")
    await thread.run("shop", partial(_refuse, text), size=SMALL)


async def _by_bounded_threads(text: Text) -> None:
    await BoundedThreads(1, 1, name="works").run(partial(_refuse, text))


async def _by_author_threads(text: Text) -> None:
    await AuthorThreads().run(partial(_refuse, text), sender="shop", text_bytes=SMALL)


async def _by_batcher(text: Text) -> None:
    async def send(batch: list[Text]) -> list[Text]:
        _refuse(batch[0])

    await Batcher(send).ask(text)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(
    "refused",
    [_by_fair_thread, _by_priority_thread, _by_bounded_threads, _by_author_threads, _by_batcher],
)
async def test_what_was_refused_is_freed_without_the_collector(
    refused: Callable[[Text], Awaitable[None]],
) -> None:
    text, freed = Text(), asyncio.Event()
    loop = asyncio.get_running_loop()
    weakref.finalize(text, lambda: loop.call_soon_threadsafe(freed.set))
    with pytest.raises(RequestError):
        await refused(text)
    del text
    await asyncio.wait_for(freed.wait(), 60)


@pytest.mark.usefixtures("without_collector")
def test_a_source_that_cannot_be_read_keeps_no_error() -> None:
    before = _errors()
    Scenario(UNREADABLE).submit({"a": [1]})
    assert _errors() == before


def _errors() -> int:
    return sum(isinstance(each, LanguageError) for each in gc.get_objects())
