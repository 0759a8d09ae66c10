"""The Ray-native example from start to end: ``make demo-ray``.

It starts a stack whose tasks may call the module ``studio`` and the Serve application ``scorer``,
deploys that, serves the HTTP function, runs the workflow, and saves the film.
"""

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import rillflow
from rillflow.cli.output.progress import follow

HERE: Final = Path(__file__).parent
sys.path.append(str(HERE.parents[1]))

from examples.demo_processes import START_S, demo, free_address, port_of, process, save  # noqa: E402

FUNCTIONS_IN_EXAMPLE: Final = "http://127.0.0.1:8081"
ENVIRONMENT: Final = {"RILLFLOW_SERVE_APPLICATIONS": "scorer", "STUDIO_DELAY_S": "0.15"}


def main() -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description="Make a small film on Ray.")
    parser.add_argument("--topic", default="the sea")
    parser.add_argument("--video-dir", type=Path, default=Path(".rillflow/video"))
    given = parser.parse_args()
    return demo(partial(run, topic=given.topic, video_dir=given.video_dir.resolve()))


def run(folder: Path, topic: str, video_dir: Path) -> int:
    """Run one execution of the workflow and return the exit code."""
    api, functions = free_address(), free_address()
    data = folder / "data"
    up = ["up", "--port", port_of(api), "--data-dir", str(data)]
    up += ["--functions", str(HERE / "studio.py")]
    serving = ["functions", "serve", "--port", port_of(functions)]
    serving.append(str(HERE / "title_functions.py"))
    with process(folder, up, ENVIRONMENT) as stack, process(folder, serving) as server:
        print(f"starting Rillflow at {api} and an HTTP function at {functions}")
        stack.wait_for(f"{api}/readyz")
        server.wait_for(f"{functions}/healthz")
        print("deploying the Serve application scorer")
        deploy(data)
        text = (HERE / "workflow.yaml").read_text(encoding="utf-8")
        with rillflow.Client(api) as client:
            descriptor = client.add(text.replace(FUNCTIONS_IN_EXAMPLE, functions))
            execution = client.submit(descriptor, {"topic": topic})
            print(f"submitted {descriptor} as {execution.id}\n")
            if follow(execution, every_s=0.1) == "FAILED":
                return 1
            save_film(execution.result(), api, video_dir)
    return 0


def deploy(data: Path) -> None:
    """Deploy the scorer on the Ray of the stack."""
    note = json.loads((data / "stack.json").read_text(encoding="utf-8"))
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(HERE / "scorer.py"), note["ray_address"]],
        env={**os.environ, **note["ray_environment"]},
        check=True,
        timeout=START_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def save_film(context: dict[str, Any], api: str, video_dir: Path) -> None:
    """Save the film."""
    film = context["film"]
    print(f"\n{context['title']!r} has the frames {context['chosen']}")
    file = video_dir / "ray-native.webm"
    save(film, api, file)
    print(f"every browser plays {os.path.relpath(file)}, of {film['bytes']:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
