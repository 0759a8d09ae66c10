"""The text-to-video workflow from start to end: ``make demo``.

It starts a whole stack and a server of functions, each a process of its own on a free
port, adds the workflow, submits one execution, shows every task while it runs, prints
what was made, and stops everything again. With ``--keep`` the server stays up until
Ctrl-C, so that the execution can be looked at in the console.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import rillflow
from rillflow.cli.output.progress import follow
from rillflow.errors import RillflowError

HERE: Final = Path(__file__).parent
RILLFLOW: Final = str(Path(sys.executable).with_name("rillflow"))
GATEWAY_IN_EXAMPLES: Final = "http://127.0.0.1:8081"
START_S: Final = 90.0
STOP_S: Final = 15.0
DELAY_S: Final = "0.3"


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description="Turn a topic into a small video.")
    parser.add_argument("--topic", default="the sea")
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--workflow", type=Path, default=HERE / "workflow.yaml")
    parser.add_argument("--video-dir", type=Path, default=Path(".rillflow/video"))
    parser.add_argument("--keep", action="store_true", help="keep the server up until Ctrl-C")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="rillflow-demo-") as folder:
            order = {"topic": given.topic, "scenes": given.scenes}
            video_dir = given.video_dir.resolve()
            return run(Path(folder), given.workflow, order, video_dir, keeps=given.keep)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except (RillflowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(
    folder: Path, workflow: Path, order: dict[str, str | int], video_dir: Path, *, keeps: bool
) -> int:
    """Run one execution of a workflow and return the exit code."""
    api, gateway = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    serving = ["up", "--port", api.rpartition(":")[2], "--data-dir", str(folder / "data")]
    functions = ["functions", "serve", "--port", gateway.rpartition(":")[2]]
    functions.append(str(HERE / "functions.py"))
    began = time.monotonic()
    with process(folder, serving) as stack, process(folder, functions) as server:
        print(f"starting Rillflow at {api} and its functions at {gateway}")
        wait_for(stack, f"{api}/readyz", folder / "up.log")
        wait_for(server, f"{gateway}/healthz", folder / "functions.log")
        print(f"both answer after {time.monotonic() - began:.1f} s\n")
        with rillflow.Client(api) as client:
            text = workflow.read_text(encoding="utf-8").replace(GATEWAY_IN_EXAMPLES, gateway)
            descriptor = client.add(text)
            print(f"added {workflow.name} as {descriptor}")
            execution = client.submit(descriptor, dict(order))
            print(f"submitted {order} as {execution.id}")
            print(f"its page: {page_of(api, execution.id)}\n")
            if follow(execution, every_s=0.1) == "FAILED":
                return 1
            save(execution.result(), api, video_dir)
        if keeps:
            print(f"\nopen {page_of(api, execution.id)}\nCtrl-C stops the server")
            stack.wait()
        print("\nstopping both")
    print(f"done after {time.monotonic() - began:.1f} s")
    print_next(workflow, descriptor, order)
    return 0


def print_next(workflow: Path, descriptor: str, order: dict[str, str | int]) -> None:
    """Print what somebody may want to do who has seen this."""
    rillflow_, yaml = os.path.relpath(RILLFLOW), os.path.relpath(workflow)
    name = ":".join(descriptor.split(":")[:2])
    print("\nwhat next:")
    print("  look    make demo ARGS=--keep keeps the server up, with the page of the execution")
    print(f"  change  {yaml}; docs/language.md says what may be in it")
    print(f"  start   {rillflow_} up")
    print(f"     and  {rillflow_} functions serve {os.path.relpath(HERE / 'functions.py')}")
    print(f"  submit  {rillflow_} add {yaml}")
    print(f"     and  {rillflow_} submit {name} --data '{json.dumps(order)}' --wait")
    print("  by curl: docs/http.md, from Python: README.md")


def page_of(api: str, execution_id: str) -> str:
    """Return the address of an execution's page in the console."""
    return f"{api}/console#/execution/{execution_id}"


def save(context: Mapping[str, Any], api: str, video_dir: Path) -> None:
    """Print what the workflow returned, and save the files that it made."""
    result = context["result"]
    print(f"\nresult: {result}\n")
    video_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("film", "soundtrack", "captions"):
        artifact = result[name]
        file = video_dir / Path(artifact["name"]).name
        url = f"{api}/flow/artifacts/{artifact['rillflow_artifact']}"
        with urllib.request.urlopen(url, timeout=30) as content:  # noqa: S310 - http only
            file.write_bytes(content.read())
        print(f"  {file.stat().st_size:>9,} bytes  {os.path.relpath(file)}")
    print("\n  every browser plays film.webm")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(folder: Path, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``rillflow`` beside this process, and stop it whatever happens."""
    environment = {"TEXT_TO_VIDEO_DELAY_S": DELAY_S, **os.environ}
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [RILLFLOW, *arguments], env=environment, stdout=log, stderr=log
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a process answers.

    Raises:
        OSError: It ends before, or takes too long; the message has its last words.
    """
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and child.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - http only
            return
        time.sleep(0.05)
    raise OSError(f"{url} does not answer:\n{log.read_text(errors='replace')[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
