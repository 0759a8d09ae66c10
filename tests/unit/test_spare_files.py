"""A process without a file left makes its calls nevertheless, and no function has failed."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rillflow.actors.readiness import runs
from rillflow.gateways.http_client.spare_files import SpareFiles
from rillflow.gateways.http_client.transport import PooledTransport
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.gateways.outbound.settings import HttpSettings
from tests.files_used_up import no_file_left

SERVER = """
import http.server
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[HttpCall]:
    """Serve an empty file in another process, which has files."""
    (folder / "f").write_bytes(b"")
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, cwd=folder, stdout=-1, stderr=asyncio.subprocess.DEVNULL
    )
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    yield HttpCall("GET", f"http://127.0.0.1:{port}/f", (), None)
    server.kill()
    await server.wait()


async def test_calls_take_the_place_of_files_that_were_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as call:
        transport = PooledTransport(HttpSettings())
        with no_file_left():
            for _ in range(100):  # more than are kept: each is kept again once it is free
                reply = await transport.exchange(call, most_bytes=1000)
                assert reply.status == 200
        await transport.close()


async def test_a_call_waits_where_none_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as call:
        transport = PooledTransport(HttpSettings())
        transport._pool._spare.close()
        with no_file_left() as held:
            waiting = asyncio.create_task(transport.exchange(call, most_bytes=1000))
            done, _ = await asyncio.wait({waiting}, timeout=0.2)
            assert not done
            os.close(held.pop())
            assert (await waiting).status == 200
        await transport.close()


async def test_other_failures_are_those_of_what_was_made() -> None:
    files = SpareFiles(2)

    async def refused() -> None:
        raise ConnectionRefusedError

    try:
        await files.make(refused)
    except ConnectionRefusedError:
        assert len(files) == 2
    else:
        raise AssertionError
    files.close()


async def test_what_was_given_up_is_opened_again() -> None:
    files = SpareFiles(2)

    async def made() -> socket.socket:
        return socket.socket()

    with no_file_left():
        with await files.make(made):
            assert len(files) == 1
            files.fill()
            assert len(files) == 1
        files.fill()
        assert len(files) == 2
    files.close()
    assert len(files) == 0


def test_a_process_is_not_taken_for_ended_where_no_file_is_left_to_look() -> None:
    with no_file_left():
        assert runs(os.getpid())
    assert not runs(1 << 30)
