"""A real PgBouncer between the store and PostgreSQL: what works, and what is refused at once.

It is the system's (``apt-get install pgbouncer``). Without one these tests do not run, but in CI.
"""

import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from rillflow.errors import FencedError, StoreError
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores import short_check
from rillflow.stores.postgres.store import PostgresStore
from tests.cluster.poolers import pgbouncer
from tests.contract.appends import PARTITION, close, follow, id_of, submit
from tests.contract.test_postgresql_page import INI
from tests.postgres_server import USER, PostgresServer

START_S: Final = 30.0
LOOK_S: Final = 0.05
PORT: Final = 6432
SETTINGS: Final = """
[databases]
* = host={server}
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
logfile = {folder}/log
pool_mode = {mode}
{more}
"""

pytestmark = pytest.mark.cluster

Through = Callable[..., str]


@pytest.fixture
def through(server: PostgresServer) -> Iterator[Through]:
    """Return a function that starts a PgBouncer of a mode, and returns the URL of a database."""
    with ExitStack() as ends:

        def start(mode: str, more: str = INI) -> str:
            folder = ends.enter_context(_pgbouncer(server, mode, more))
            database = urlsplit(server.new_database()).path.removeprefix("/")
            return f"postgresql://{USER}@/{database}?host={folder}&port={PORT}"

        yield start


@contextmanager
def _pgbouncer(server: PostgresServer, mode: str, more: str) -> Iterator[Path]:
    """Run one, with its socket in a folder."""
    program = pgbouncer()
    assert program is not None, "apt-get install pgbouncer"
    with tempfile.TemporaryDirectory(prefix="rfb-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{USER}" ""\n', encoding="ascii")
        (folder / "settings").write_text(
            SETTINGS.format(server=server.home, port=PORT, folder=folder, mode=mode, more=more),
            encoding="ascii",
        )
        user = None
        if os.geteuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("nobody").pw_uid
            os.chown(folder, user, -1)
        with subprocess.Popen(
            [program, "--quiet", str(folder / "settings")], user=user, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_for(folder / f".s.PGSQL.{PORT}", folder / "log", process)
                yield folder
            finally:
                process.kill()


def _wait_for(socket: Path, log: Path, process: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + START_S
    while not socket.exists():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < give_up_s, log.read_text(encoding="utf-8")
        time.sleep(LOOK_S)


async def test_stores_work_and_fence_each_other_through_whole_sessions(through: Through) -> None:
    url = through("session")
    first, second = PostgresStore(url), PostgresStore(url)
    await first.open()
    await second.open()
    try:
        await first.append([submit(number) for number in range(1, 20)])
        for number in range(1, 10):
            await first.append([close(number, 2, "SUCCEED")])
        old = await first.take_scopes([PARTITION])
        await second.take_scopes([PARTITION])
        with pytest.raises(FencedError):
            await first.append([follow(11, 2, b"late", epoch=old)])
        gone = [id_of(number) for number in range(1, 10)]
        while gone:
            gone = await second.purge(gone, ended_before_ms=10_000, most_records=10)
        assert await second.load(id_of(1)) is None
        assert await second.load(id_of(11)) is not None
        assert (await short_check(url, SystemClock().now_ms() / 1000)).problem == ""
    finally:
        await first.close()
        await second.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_of_less_than_sessions_is_refused(through: Through, mode: str) -> None:
    url = through(mode)
    store = PostgresStore(url)
    with pytest.raises(StoreError, match="Rillflow needs pool_mode=session"):
        await store.open()
    with pytest.raises(StoreError, match="Rillflow needs pool_mode=session"):
        await short_check(url, SystemClock().now_ms() / 1000)


async def test_a_pooler_that_refuses_the_settings_is_told_what_to_list(through: Through) -> None:
    store = PostgresStore(through("session", more=""))
    with pytest.raises(StoreError, match=r"startup parameter.*ignore_startup_parameters"):
        await store.open()


async def test_a_pooler_is_told_by_the_number_of_the_process(
    server: PostgresServer, through: Through
) -> None:
    direct = server.new_database()
    for url, is_direct in ((direct, True), (through("session"), False)):
        connection = await asyncpg.connect(url)
        try:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            assert (pid == connection.get_server_pid()) == is_direct
        finally:
            await connection.close()
