"""A cluster of two nodes on this machine, of which one is killed: ``make demo-cluster``.

It starts a PostgreSQL, two Ray nodes and a function gateway, deploys Rillflow as `rillflow cluster
deploy` does, submits executions, kills the second node while they run, waits until all have ended,
and stops everything. Each step and the progress are written as they happen.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import yaml

import rillflow
from rillflow.errors import RillflowError
from rillflow.ray_certificates import variables
from serve.listening import free_port
from tests.cluster.processes import ROOT, announced
from tests.cluster.ray_head import RayHead
from tests.cluster.ray_nodes import RayNode
from tests.postgres_server import PostgresServer

EXECUTIONS: Final = 300
KILLED_AT: Final = 0.3
"""The second node is killed when this part of the executions has ended."""
PAUSE_S: Final = 0.03
"""Between submissions, so that executions are submitted and run before, while and after it dies."""
LOOK_S: Final = 1.0
END_S: Final = 240.0
BAR: Final = 30
FLOW: Final = "workspace: demo\ndagName: chain\ntype: flow\ntasks:"
TASK: Final = """
  - name: {name}
    category: function
    pattern: {pattern}
    resourceName: {url}/{route}
    inputMappings: [{{ source: $.context.n, target: $.input.n }}]
    outputMappings: [{{ source: $.output.n, target: $.context.n }}]
    next: {following}"""
TASKS: Final = (
    ("one", "task_sync", "answer", "two"),
    ("two", "task_async", "late", "three"),
    ("three", "task_sync", "answer", ""),
)
Say = Callable[[str], None]


def main() -> int:
    """Run the demo and return the exit code."""
    begun_s = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - begun_s:6.1f} s  {text}\n")
        sys.stdout.flush()

    try:
        # The sockets of Ray need a short path.
        with tempfile.TemporaryDirectory(prefix="rfd-", dir="/tmp") as folder, ExitStack() as stack:
            return _run(Path(folder), stack, say)
    except KeyboardInterrupt:
        say("stopped")
        return 130


def _run(folder: Path, stack: ExitStack, say: Say) -> int:
    say("PostgreSQL starts")
    postgres = PostgresServer()
    stack.callback(postgres.stop)
    head = RayHead(folder, **variables(folder / "tls"))
    stack.callback(head.kill)
    say("$ rillflow cluster certificates")
    places = ("--folder", str(folder / "tls"), "--authority", str(folder / "authority"))
    _command(head, say, "certificates", *places)
    say("the first Ray node starts")
    head.start()
    say("the second Ray node starts")
    second = RayNode(folder / "second.log", head.environment, f"--address={head.address}")
    stack.callback(second.kill)
    functions = stack.enter_context(announced(str(Path(__file__).with_name("function_service.py"))))
    port = free_port()
    file = _deployment_file(folder, postgres.new_database(), port)
    say("$ rillflow cluster deploy config.yaml")
    _command(head, say, "deploy", str(file))
    with rillflow.Client(f"http://127.0.0.1:{port}") as client:
        client.add(_definition(functions))
        for line in _actors(client):
            say(line)
        return _kill_in_the_middle(client, second, say, lambda: _command(head, say, "stop"))


def _kill_in_the_middle(
    client: rillflow.Client, second: RayNode, say: Say, stop: Callable[[], None]
) -> int:
    say(f"{EXECUTIONS} executions are submitted")
    ended: Counter[str] = Counter()
    is_killed = False
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="submit") as thread:
        submitting = thread.submit(_submitted, client)
        for ended in _progress(client, say):
            if not is_killed and ended.total() >= KILLED_AT * EXECUTIONS:
                say("the second node is killed")
                second.kill()
                is_killed = True
        submitted = submitting.result()
    wrong = [
        one.id for number, one in enumerate(submitted) if one.result()["n"] != number + len(TASKS)
    ]
    for line in _actors(client):
        say(line)
    say(f"{ended['SUCCEED']} of {EXECUTIONS} have succeeded, {len(wrong)} with a wrong result")
    say("$ rillflow cluster stop")
    stop()
    return 0 if is_killed and ended["SUCCEED"] == EXECUTIONS and not wrong else 1


def _submitted(client: rillflow.Client) -> list[rillflow.Execution]:
    """Submit all; with its key, one that is not answered is sent again and counts once."""
    submitted = []
    for number in range(EXECUTIONS):
        key = f"demo-{number}"
        submitted.append(client.submit("demo:chain", {"n": number}, idempotency_key=key))
        time.sleep(PAUSE_S)
    return submitted


def _progress(client: rillflow.Client, say: Say) -> Iterator[Counter[str]]:
    """Write how many executions have ended, until all have."""
    give_up = time.monotonic() + END_S
    while time.monotonic() < give_up:
        try:
            listed = client.executions(business="demo", limit=EXECUTIONS)
        except RillflowError as error:
            say(f"no answer yet: {error}")
            time.sleep(LOOK_S)
            continue
        ended = Counter(one.status for one in listed if one.status in ("SUCCEED", "FAILED"))
        done = ended.total() * BAR // EXECUTIONS
        say(f"[{'#' * done}{'.' * (BAR - done)}] {ended.total()} of {EXECUTIONS} have ended")
        yield ended
        if ended.total() >= EXECUTIONS:
            return
        time.sleep(LOOK_S)


def _actors(client: rillflow.Client) -> Iterator[str]:
    actors: Any = client.cluster()["actors"]
    for actor in actors:
        yield f"  {actor['name']} is on node {actor['node'][:8]}"


def _command(head: RayHead, say: Say, *arguments: str) -> None:
    """Run a subcommand of ``rillflow cluster``, and write what it says."""
    command = [sys.executable, "-m", "rillflow.cli", "cluster", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, **head.environment},
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            say(f"  {line.rstrip()}")
    if running.returncode != 0:
        raise SystemExit(running.returncode)


def _deployment_file(folder: Path, store: str, port: int) -> Path:
    text = (ROOT / "serve" / "config.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text.replace("8080", str(port)))
    [application] = config["applications"]
    application["runtime_env"]["env_vars"] = {
        "RILLFLOW_STORE": store,
        "RILLFLOW_EXECUTION_ACTORS": "2",
        "RILLFLOW_DISPATCHER_ACTORS": "2",
    }
    [deployment] = application["deployments"]
    del deployment["autoscaling_config"]
    deployment |= {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _definition(functions: str) -> str:
    tasks = (
        TASK.format(name=name, pattern=pattern, url=functions, route=route, following=following)
        for name, pattern, route, following in TASKS
    )
    return FLOW + "".join(tasks) + "\n"


if __name__ == "__main__":
    sys.exit(main())
