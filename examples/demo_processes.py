"""What the demos share: they run ``rillflow`` in processes beside their own, on free ports."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rillflow.errors import RillflowError
from serve.listening import free_port

RILLFLOW: Final = str(Path(sys.executable).with_name("rillflow"))
START_S: Final = 90.0
STOP_S: Final = 15.0
LOOK_S: Final = 0.05


def demo(run: Callable[[Path], int]) -> int:
    """Run a demo in a folder of its own, and return the exit code; Ctrl-C and SIGTERM end it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="rillflow-demo-") as folder:
            code = run(Path(folder))
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except (RillflowError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"done after {time.monotonic() - began_s:.1f} s")
    return code


def free_address() -> str:
    """Return an address of this machine with a port that is kept for this process."""
    return f"http://127.0.0.1:{free_port()}"


def port_of(address: str) -> str:
    """Return the port of such an address."""
    return address.rpartition(":")[2]


class Process:
    """A process of the demo, and the file with what it says."""

    def __init__(self, running: "subprocess.Popen[bytes]", log: Path) -> None:
        self.running = running
        self._log = log

    def wait_for(self, url: str) -> None:
        """Wait until the process answers at an address.

        Raises:
            OSError: It ends before, or takes too long; the message has its last words.
        """

        def answers() -> bool:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - http only
                return True
            return False

        self.wait_until(answers, f"{url} does not answer")

    def wait_until(self, holds: Callable[[], bool], otherwise: str) -> None:
        """Wait until something holds.

        Raises:
            OSError: The process ends before, or takes too long; the message has its last words.
        """
        give_up_s = time.monotonic() + START_S
        while not holds():
            if self.running.poll() is not None or time.monotonic() > give_up_s:
                raise OSError(f"{otherwise}:\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(LOOK_S)


@contextlib.contextmanager
def process(
    folder: Path, arguments: list[str], environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run ``rillflow`` beside this process, and stop it whatever happens."""
    path = folder / f"{arguments[0]}.log"
    with path.open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [RILLFLOW, *arguments],
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=log,
        )
    try:
        yield Process(child, path)
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def save(artifact: Mapping[str, Any], api: str, file: Path) -> None:
    """Save an artifact of an execution as a file."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = f"{api}/flow/artifacts/{artifact['rillflow_artifact']}"
    with urllib.request.urlopen(url, timeout=30) as content:  # noqa: S310 - http only
        file.write_bytes(content.read())
