"""Who submits and waits is told the end once it has come, and never before."""

import asyncio
from typing import Final

from rillflow.ports.executions import End, Reply, Submission, Watch
from rillflow.ports.messages import AwaitEnds
from rillflow.runtime.completion.client import CompletionClient, Ended, News
from rillflow.runtime.completion.server import LONGEST_NEWS_BYTES, CompletionServer
from tests.loopback import ManualClock
from tests.submissions import submission_event

LONG_S: Final = 30.0
SUBMISSION: Final = Submission(
    business="shop",
    feature="order",
    event=submission_event("new", "0" * 32),
)


class Owner:
    """An owner whose answers a test gives one by one."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.submitted: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()
        self.told = asyncio.Condition()
        self.news: asyncio.Queue[News] = asyncio.Queue()
        self.watch = CompletionClient("me", self.call, self.ask)

    async def call(self, call: Watch | Submission) -> Reply:
        if isinstance(call, Submission):
            return await self.submitted
        async with self.told:
            self.watched.append(call.execution_id)
            self.told.notify_all()
        return Reply()

    async def ask(self, _: AwaitEnds) -> News:
        self.asked.set()
        return await self.news.get()


async def until(owner: Owner, watched: list[str]) -> None:
    async with asyncio.timeout(LONG_S), owner.told:
        await owner.told.wait_for(lambda: owner.watched == watched)


async def test_what_is_being_submitted_is_no_concern_of_an_owner_in_a_new_life() -> None:
    owner = Owner()
    old = asyncio.create_task(owner.watch.wait("old", LONG_S))
    run = asyncio.create_task(owner.watch.run(SUBMISSION, LONG_S, "brief"))
    await owner.asked.wait()
    owner.news.put_nowait(News("life", []))
    await until(owner, ["old", "old"])  # told once by itself, and again in the new life
    owner.submitted.set_result(Reply())
    await until(owner, ["old", "old", "new"])
    owner.news.put_nowait(News("life", [Ended("new", "brief", b"{}"), Ended("old")]))
    assert await run == (Reply(), End(has_ended=True, body=b"{}"))
    assert await old == End(has_ended=True)
    assert not len(owner.watch)


async def test_news_may_come_before_the_reply_to_the_submission() -> None:
    owner = Owner()
    old = asyncio.create_task(owner.watch.wait("old", LONG_S))
    await owner.asked.wait()
    owner.news.put_nowait(News("life", []))
    await until(owner, ["old", "old"])
    run = asyncio.create_task(owner.watch.run(SUBMISSION, LONG_S, "brief"))
    await asyncio.sleep(0)
    owner.news.put_nowait(News("life", [Ended("new", "brief", b"{}"), Ended("old")]))
    assert await old == End(has_ended=True)
    owner.submitted.set_result(Reply())
    assert await run == (Reply(), End(has_ended=True, body=b"{}"))
    assert owner.watched == ["old", "old"]


async def test_a_submission_that_is_refused_waits_for_nothing() -> None:
    owner = Owner()
    owner.submitted.set_result(Reply(changed=False, error="no", kind="request"))
    reply, end = await owner.watch.run(SUBMISSION, LONG_S, "brief")
    assert (reply.error, end) == ("no", End(has_ended=False))
    assert not len(owner.watch)


async def test_the_end_of_a_submission_that_came_before_is_asked_for() -> None:
    owner = Owner()
    owner.submitted.set_result(Reply(changed=False))
    run = asyncio.create_task(owner.watch.run(SUBMISSION, LONG_S, "brief"))
    await owner.asked.wait()
    assert owner.watched == ["new"]
    owner.news.put_nowait(News("", [Ended("new", "brief", b"{}")]))
    assert await run == (Reply(changed=False), End(has_ended=True, body=b"{}"))


async def test_news_of_many_ends_come_in_messages_of_few_bytes() -> None:
    server = CompletionServer(ManualClock())
    view = b"x" * 60_000
    names = [f"execution-{number}" for number in range(200)]
    for name in names:
        server.watch("me", name, "brief")
    for name in names:
        server.ended(name, lambda _: view)
    told: list[Ended] = []
    heard: list[str] = []
    while len(told) < len(names):
        news = await server.take("me", LONG_S, heard)
        assert 0 < sum(len(ended.body or b"") for ended in news) <= LONGEST_NEWS_BYTES
        heard = [ended.execution_id for ended in news]
        told += news
    assert [ended.execution_id for ended in told] == names


async def test_who_waits_once_more_after_a_redo_is_told_the_second_end() -> None:
    """The next question confirmed the first end by its execution, and took the second one along."""
    server = CompletionServer(ManualClock())

    async def watch_and_end(call: Watch | Submission) -> Reply:
        assert isinstance(call, Watch)
        server.watch(call.watcher, call.execution_id, call.show)
        server.ended("redone")
        return Reply()

    async def ask(question: AwaitEnds) -> News:
        told = await server.take(question.watcher, question.timeout_s, question.heard)
        return News("life", told)

    client = CompletionClient("me", watch_and_end, ask)
    for _ in range(3):
        assert (await client.wait("redone", LONG_S)).has_ended


async def test_the_end_before_a_redo_is_not_told_to_who_waits_after_it() -> None:
    server = CompletionServer(ManualClock())
    server.watch("me", "redone", "brief")
    server.ended("redone", lambda _: b"failed")
    server.watch("me", "redone", "brief")
    assert await server.take("me", 0) == []
    server.ended("redone", lambda _: b"succeeded")
    assert await server.take("me", 0) == [Ended("redone", "brief", b"succeeded")]
