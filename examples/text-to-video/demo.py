"""The text-to-video workflow from start to end: ``make demo``.

It starts a whole stack and a server of functions, each a process of its own on a free
port, adds the workflow, submits one execution, shows every task while it runs, prints
what was made, and stops everything again. With ``--keep`` the server stays up until
Ctrl-C, so that the execution can be looked at in the console.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import rillflow
from rillflow.cli.output.progress import follow

HERE: Final = Path(__file__).parent
sys.path.append(str(HERE.parents[1]))

from examples.demo_processes import RILLFLOW, demo, free_address, port_of, process, save  # noqa: E402

GATEWAY_IN_EXAMPLES: Final = "http://127.0.0.1:8081"
DELAYS: Final = {"TEXT_TO_VIDEO_DELAY_S": "0.3"}


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description="Turn a topic into a small video.")
    parser.add_argument("--topic", default="the sea")
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--workflow", type=Path, default=HERE / "workflow.yaml")
    parser.add_argument("--video-dir", type=Path, default=Path(".rillflow/video"))
    parser.add_argument("--keep", action="store_true", help="keep the server up until Ctrl-C")
    given = parser.parse_args()
    order = {"topic": given.topic, "scenes": given.scenes}
    video_dir = given.video_dir.resolve()
    return demo(
        partial(run, workflow=given.workflow, order=order, video_dir=video_dir, keeps=given.keep)
    )


def run(
    folder: Path, workflow: Path, order: dict[str, str | int], video_dir: Path, *, keeps: bool
) -> int:
    """Run one execution of a workflow and return the exit code."""
    api, gateway = free_address(), free_address()
    serving = ["up", "--port", port_of(api), "--data-dir", str(folder / "data")]
    functions = ["functions", "serve", "--port", port_of(gateway), str(HERE / "functions.py")]
    environment = DELAYS | os.environ
    began = time.monotonic()
    with (
        process(folder, serving, environment) as stack,
        process(folder, functions, environment) as server,
    ):
        print(f"starting Rillflow at {api} and its functions at {gateway}")
        stack.wait_for(f"{api}/readyz")
        server.wait_for(f"{gateway}/healthz")
        print(f"both answer after {time.monotonic() - began:.1f} s\n")
        with rillflow.Client(api) as client:
            text = workflow.read_text(encoding="utf-8").replace(GATEWAY_IN_EXAMPLES, gateway)
            descriptor = client.add(text)
            print(f"added {workflow.name} as {descriptor}")
            execution = client.submit(descriptor, dict(order))
            print(f"submitted {order} as {execution.id}")
            print(f"its page: {page_of(api, execution.id)}\n" if keeps else "")
            if follow(execution, every_s=0.1) == "FAILED":
                return 1
            save_all(execution.result(), api, video_dir)
        if keeps:
            print(f"\nopen {page_of(api, execution.id)}\nCtrl-C stops the server")
            stack.running.wait()
        print("\nstopping both")
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


def save_all(context: Mapping[str, Any], api: str, video_dir: Path) -> None:
    """Print what the workflow returned, and save the files that it made."""
    result = context["result"]
    print(f"\nresult: {json.dumps(result, indent=2)}\n")
    for name in ("film", "soundtrack", "captions"):
        file = video_dir / Path(result[name]["name"]).name
        save(result[name], api, file)
        print(f"  {file.stat().st_size:>9,} bytes  {os.path.relpath(file)}")
    print("\n  every browser plays film.webm")


if __name__ == "__main__":
    sys.exit(main())
