"""Commands about the deployment on a cluster."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of
from rillflow.cli.visible import print_json, say

SHOWN_ID: Final = 8
"""Characters of the id of a node that a line shows."""

cluster = typer.Typer(
    name="cluster",
    help="Look at the deployment: its actors, and whether they run as wanted."
    "\n\n    $ rillflow cluster check serve/config.yaml\n\n    $ rillflow cluster status",
    no_args_is_help=True,
)


@cluster.callback()
def group() -> None:
    """Look at the deployment: its actors, and whether they run as wanted."""


@cluster.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show what should run, and what each actor was started with, owns and does.

    The exit code is 1 while not everything runs as wanted.

        $ rillflow cluster status
    """
    with client_of(url) as client:
        state = client.cluster()
    if as_json:
        print_json(state)
    else:
        for line in lines_of(state):
            say(line)
    if not state["converged"]:
        raise typer.Exit(1)


@cluster.command()
def check(
    file: Annotated[Path, typer.Argument(help="The file that `serve deploy` is given.")],
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="The Ray cluster; that of this machine if unset."),
    ] = None,
) -> None:
    """Check that a deployment file fits the Ray cluster, before `serve deploy`.

    It asks every node, in the runtime environment of the file: whether the code is there and the
    same, the settings are right, the store can be reached, and Ray was started as it should be.
    The exit code is 1 if something keeps the deployment from running.

        $ rillflow cluster check serve/config.yaml
    """
    # The serving layer stands above this one, so it is known by its name only.
    found = importlib.import_module("serve.stack.cluster_check").check(file, address)
    for each in found:
        say(f"{'error  ' if each.is_error else 'warning'}  {each.sentence}")
    if any(each.is_error for each in found):
        raise typer.Exit(1)
    say("nothing keeps this deployment from running")


def lines_of(state: Any) -> list[str]:
    """Return the state of a deployment as lines for people."""
    wanted = state.get("wanted", {})
    lines = [
        f"wanted   settings {wanted['settings_version']}, code {wanted['code_version']},"
        f" {wanted['execution_actors']} execution actors, {wanted['dispatchers']} dispatchers"
        if wanted
        else "wanted   nothing has been deployed on this store",
        *(f"{each['name']:<28} {_of_actor(each)}" for each in state["actors"]),
        *(f"{name:<28} does not answer" for name in state["silent"]),
    ]
    controller = state.get("controller", {})
    lines += [f"reason   {each['message']}" for each in controller.get("reasons", [])]
    lines += [f"cause    {each}" for each in controller.get("causes", [])]
    lines += [f"warning  {each}" for each in controller.get("warnings", [])]
    lines.append("everything runs as wanted" if state["converged"] else "not as wanted")
    return lines


def _of_actor(actor: Any) -> str:
    version = actor.get("settings_version", "unknown")
    facts = [
        f"node {actor['node'][:SHOWN_ID]}",
        f"settings {version}" if actor["current"] else f"settings {version} (not as wanted)",
        f"code {actor.get('code_version', 'unknown')}",
    ]
    if actor["partitions"]:
        facts += [f"{actor['partitions']} partitions", f"{actor['hot']} hot"]
    facts.append(f"{actor['calls']} calls")
    facts += [f"{actor[name]} {name}" for name in ("restarts", "fencings") if name in actor]
    return ", ".join(facts if actor["ready"] else [*facts, "starts"])
