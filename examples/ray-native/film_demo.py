"""The Ray-native example from start to end: ``make demo-ray``.

It starts a stack whose tasks may call the module ``studio`` and the Serve application ``scorer``,
deploys that, serves the HTTP function, runs the workflow, and saves the film.
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
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import rillflow
from rillflow.cli.output.progress import follow
from rillflow.errors import RillflowError

HERE: Final = Path(__file__).parent
RILLFLOW: Final = str(Path(sys.executable).with_name("rillflow"))
FUNCTIONS_IN_EXAMPLE: Final = "http://127.0.0.1:8081"
START_S: Final = 90.0
STOP_S: Final = 15.0


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description="Make a small film on Ray.")
    parser.add_argument("--topic", default="the sea")
    parser.add_argument("--video-dir", type=Path, default=Path(".rillflow/video"))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="rillflow-demo-") as folder:
            code = run(Path(folder), given.topic, given.video_dir)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except (RillflowError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"done after {time.monotonic() - began_s:.1f} s")
    return code


def run(folder: Path, topic: str, video_dir: Path) -> int:
    """Run one execution of the workflow and return the exit code."""
    api, functions = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    data = folder / "data"
    up = ["up", "--port", api.rpartition(":")[2], "--data-dir", str(data)]
    up += ["--functions", str(HERE / "studio.py")]
    serving = ["functions", "serve", "--port", functions.rpartition(":")[2]]
    serving.append(str(HERE / "title_functions.py"))
    with process(folder, up) as stack, process(folder, serving) as server:
        print(f"starting Rillflow at {api} and an HTTP function at {functions}")
        wait_for(stack, f"{api}/readyz", folder / "up.log")
        wait_for(server, f"{functions}/healthz", folder / "functions.log")
        print("deploying the Serve application scorer")
        deploy(data)
        text = (HERE / "workflow.yaml").read_text(encoding="utf-8")
        with rillflow.Client(api) as client:
            descriptor = client.add(text.replace(FUNCTIONS_IN_EXAMPLE, functions))
            execution = client.submit(descriptor, {"topic": topic})
            print(f"submitted {descriptor} as {execution.id}\n")
            if follow(execution, every_s=0.1) == "FAILED":
                return 1
            save(execution.result(), api, video_dir)
    return 0


def deploy(data: Path) -> None:
    """Deploy the scorer on the Ray of the stack."""
    address = json.loads((data / "stack.json").read_text(encoding="utf-8"))["ray_address"]
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(HERE / "scorer.py"), address],
        env={**os.environ, "RAY_AUTH_MODE": "token"},
        check=True,
        timeout=START_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def save(context: dict[str, Any], api: str, video_dir: Path) -> None:
    """Save the film."""
    film = context["film"]
    print(f"\n{context['title']!r} has the frames {context['chosen']}")
    video_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = video_dir / "ray-native.webm"
    url = f"{api}/flow/artifacts/{film['rillflow_artifact']}"
    with urllib.request.urlopen(url, timeout=30) as content:  # noqa: S310 - http only
        file.write_bytes(content.read())
    print(f"every browser plays {os.path.relpath(file)}, of {film['bytes']:,} bytes")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(folder: Path, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``rillflow`` beside this process, and stop it whatever happens."""
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [RILLFLOW, *arguments],
            env={**os.environ, "RILLFLOW_SERVE_APPLICATIONS": "scorer"},
            stdout=log,
            stderr=log,
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
    give_up_s = time.monotonic() + START_S
    while time.monotonic() < give_up_s and child.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - http only
            return
        time.sleep(0.05)
    raise OSError(f"{url} does not answer:\n{log.read_text(errors='replace')[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
