"""What the function of an asynchronous call logs is posted as the log of its task, and bounded."""

import asyncio
import logging
import subprocess
import sys
import threading
from urllib.parse import unquote

import rillflow
from rillflow.functions import Functions
from rillflow.functions.call_logs import MOST_CHARACTERS, MOST_HEADER_BYTES, CallLog
from tests.unit.kit_callers import WAIT_S, calling


async def test_what_a_function_logs_is_posted_with_its_progress_and_its_outcome() -> None:
    app = Functions()
    told, stranger = threading.Event(), logging.getLogger("of_the_user")

    @app.function
    def logs(number: int) -> int:
        stranger.warning("frame %s", number)
        logging.getLogger("rillflow.functions").warning("of the kit")
        rillflow.progress(0.5)
        assert told.wait(WAIT_S)
        threading.Thread(target=lambda: stranger.warning("of nobody")).start()
        stranger.error("é of %s", number)
        return number

    async with calling(app) as caller:
        await caller.accept("/logs", {"number": 1})
        query, headers, body = await caller.server.next()
        assert query["progress"] == "0.5000"
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        [line] = body.splitlines()
        assert line.endswith("WARNING of_the_user: frame 1")
        stranger.warning("beside the call")
        told.set()
        _, headers, body = await caller.server.next()
        lines = unquote(headers["X-Function-Log"]).splitlines()
        assert [line.partition("of_the_user: ")[2] for line in lines] == ["frame 1", "é of 1"]
        assert body == {"data": 1}
        assert (await caller.call("/logs", {"number": 2})).json() == {"data": 2}
        assert caller.server.arrived.empty()


async def test_a_log_is_bounded_and_posted_a_while_after_its_first_line() -> None:
    app = Functions()
    told = asyncio.Event()

    @app.function
    async def chatters() -> None:
        for number in range(1_000):
            logging.getLogger("of_the_user").warning("%05d é", number)
        await told.wait()

    async with calling(app) as caller:
        await caller.accept("/chatters")
        query, _, body = await caller.server.next()
        assert (query["progress"], query["message"]) == ("", "")
        assert len(body) <= MOST_CHARACTERS
        assert body.splitlines()[-1].endswith("00999 é")
        told.set()
        _, headers, _ = await caller.server.next()
        assert len(headers["X-Function-Log"]) <= MOST_HEADER_BYTES
        assert unquote(headers["X-Function-Log"]).splitlines()[-1].endswith("00999 é")


async def test_a_log_is_cut_at_the_ends_of_lines() -> None:
    log = CallLog(lambda: None)
    log.add("secret-" * 1_000)
    assert log.news() == "(a line of 7,000 characters)\n"
    for number in range(1_000):
        log.add(f"{number:04} {'x' * 40}")
    lines = log.news().splitlines()
    assert lines[-1].startswith("0999 ")
    assert {len(line) for line in lines} == {45}
    for line in log.end().split("%0A")[:-1]:
        assert len(unquote(line)) == 45


def test_a_server_of_functions_keeps_what_they_log() -> None:
    """Its own logging replaces all handlers, the one of a functions' module too."""
    program = """
import logging
from rillflow.functions import Functions, serving
Functions()
kept = set(logging.getLogger().handlers)
serving._log(quiet=True)
assert kept and kept <= set(logging.getLogger().handlers), logging.getLogger().handlers
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # noqa: S603 - our own
