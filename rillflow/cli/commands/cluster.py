"""Commands about the deployment on a cluster.

Used by `cli/application.py`.
"""

import importlib
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeAlias

import typer

from rillflow.cli.output.console import console_of
from rillflow.cli.remote import DEFAULT_URL, Url, client_of
from rillflow.cli.visible import print_json, say
from rillflow.errors import StackError, UnavailableError, UnreachableError
from rillflow.ray_certificates import machine_folder, variables

DeploymentFile: TypeAlias = Annotated[
    Path, typer.Argument(help="The file that `serve deploy` is given.")
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="The Ray cluster; that of this machine if unset."),
]
WATCH_S: Final = 2.0
RAY_VARIABLE: Final = re.compile(r"RAY_\w+", re.ASCII)
"""Names of the variables that a shell is given."""
SHOWN_ID: Final = 8
"""Characters of the id of a node that a line shows."""
UNREACHED: Final = (
    "the address for callbacks {url} does not answer {names}, so results of asynchronous functions"
    " do not arrive: correct RILLFLOW_SERVER_HOST or RILLFLOW_CALLBACK_HOST, or see that it leads"
    " to this deployment"
)

cluster = typer.Typer(
    name="cluster",
    help="Deploy on a Ray cluster, look at what runs there, upgrade it and stop it."
    "\n\n    $ rillflow cluster deploy serve/config.yaml\n\n    $ rillflow cluster status",
    no_args_is_help=True,
)


@cluster.callback()
def group() -> None:
    """Deploy on a Ray cluster, look at what runs there, upgrade it and stop it."""


@cluster.command()
def deploy(file: DeploymentFile, address: Address = None) -> None:
    """Check a deployment file, send it to Ray Serve, and wait until everything runs as wanted.

    `serve deploy` does the same without the check and the wait. Code that has changed on the
    machines is deployed too. The exit code is 1 if something keeps it from running.

        $ rillflow cluster deploy serve/config.yaml
    """
    _control().deploy(file, address, say)


@cluster.command()
def upgrade(file: DeploymentFile, address: Address = None) -> None:
    """Roll what runs to the code that is on the machines now, or that the file names.

    Replicas, controller, dispatchers and execution actors are replaced one after the other, each
    once it has finished what it is at, and executions go on meanwhile. The same takes it back. The
    releases must be one apart.

        $ rillflow cluster upgrade serve/config.yaml
    """
    _control().deploy(file, address, say, is_upgrade=True)


@cluster.command()
def stop(
    address: Address = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for calls under way.")] = False,
    namespace: Annotated[
        str, typer.Option(envvar="RILLFLOW_NAMESPACE", help="The Ray namespace of the actors.")
    ] = "rillflow",
) -> None:
    """End everything that Rillflow runs on the cluster; executions go on at the next deployment.

    Calls under way have some seconds to finish. What has not is made again by the next deployment,
    under its idempotency key.

        $ rillflow cluster stop
    """
    _control().stop(address, namespace, say, drains=not now)


@cluster.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every 2 s, until Ctrl-C.")
    ] = False,
    execution: Annotated[
        list[str] | None,
        typer.Option("--execution", help="Tell which actor holds it. May be repeated."),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Show what is wrong, what should run, and what each actor was started with, owns and does.

    The exit code is 1 while not everything runs as wanted.

        $ rillflow cluster status

        $ rillflow cluster status --watch
    """
    if watch and as_json:
        raise typer.BadParameter("--watch and --json exclude each other")
    with client_of(url) as client:
        if watch:
            _watch(lambda: lines_of(client.cluster(execution or ())))
        state = client.cluster(execution or ())
    if as_json:
        print_json(state)
    else:
        for line in lines_of(state):
            say(line)
    if not state["converged"]:
        raise typer.Exit(1)


def _watch(lines: Callable[[], list[str]]) -> NoReturn:
    """Show lines again and again; what does not answer is told, and asked again."""
    console = console_of()
    while True:
        try:
            shown = lines()
        except (UnreachableError, UnavailableError) as error:
            shown = [f"no answer: {error}"]
        console.clear()
        say("\n".join([time.strftime("%H:%M:%S"), *shown]))
        time.sleep(WATCH_S)


@cluster.command()
def certificates(
    folder: Annotated[
        Path | None, typer.Option(help="For this machine's certificate; ~/.ray/tls if unset.")
    ] = None,
    authority: Annotated[
        Path | None, typer.Option(help="The same on all machines; ~/.ray/authority if unset.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Host or address by which others reach this machine. May be repeated."),
    ] = None,
) -> None:
    """Make a certificate of this machine for Ray, by which it encrypts and lets nobody else in.

    Call it once where the cluster is started from, which makes the authority that issues them, and
    copy the folder of the authority to every machine. Call it again on each. Who has the key of the
    authority gets in, as with Ray's token.

        $ rillflow cluster certificates
    """
    beside_token = machine_folder().parent
    folder = folder or machine_folder()
    authority = authority or beside_token / "authority"
    # The serving layer stands above this one, so it is known by its name only.
    issuing = importlib.import_module("serve.stack.certificates")
    try:
        is_new = issuing.issue_here(folder, authority, name or ())
    except (OSError, ValueError) as error:
        raise StackError(f"no certificate can be made: {error}") from error
    if is_new:
        say(f"authority    {authority}: copy it to every machine, and show it to nobody")
    say(f"certificate  {folder}; Ray uses it with the variables")
    for variable, text in variables(folder).items():
        say(f"{variable}={shlex.quote(text)}")


@cluster.command()
def environment() -> None:
    """Print the variables with which other programs join the Ray of the `rillflow up` here.

    They are for programs that join Ray by themselves, such as `ray status`; the certificate is for
    this user only.

        $ eval "$(rillflow cluster environment)"
    """
    for name, text in _noted_environment().items():
        say(f"export {name}={shlex.quote(text)}")


def _noted_environment() -> dict[str, str]:
    """Read what the stack on the data folder of the settings has noted.

    Raises:
        StackError: None runs there.
    """
    from rillflow.local_keys import read_stack_note
    from rillflow.settings import Settings

    data_dir = Settings().data_dir
    noted = read_stack_note(data_dir).get("ray_environment")
    if not isinstance(noted, dict):
        raise StackError(f"no `rillflow up` runs on the data folder {data_dir}")
    return {name: str(text) for name, text in noted.items() if RAY_VARIABLE.fullmatch(name)}


@cluster.command()
def check(file: DeploymentFile, address: Address = None) -> None:
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


def _control() -> Any:
    # The serving layer stands above this one, so it is known by its name only.
    return importlib.import_module("serve.stack.cluster_control")


def lines_of(state: Any) -> list[str]:
    """Return the state of a deployment as lines for people: first what is wrong."""
    wanted = state.get("wanted", {})
    lines = [
        *_wrong(state),
        f"wanted   settings {wanted['settings_version']}, code {wanted['code_version']},"
        f" {wanted['execution_actors']} execution actors, {wanted['dispatchers']} dispatchers"
        if wanted
        else "wanted   nothing has been deployed on this store",
        *(f"{each['name']:<28} {_of_actor(each)}" for each in state["actors"]),
        *(f"{name:<28} does not answer" for name in state["silent"]),
    ]
    if "unfinished_executions" in state:
        lines.append(f"{state['unfinished_executions']} executions have not ended")
    for execution_id, holder in state.get("holders", {}).items():
        where = _node_of(holder) if "node" in holder else "which does not answer"
        lines.append(f"{execution_id}  held by {holder['actor']}, {where}")
    lines.append("everything runs as wanted" if state["converged"] else "not as wanted")
    return lines


def _wrong(state: Any) -> Iterator[str]:
    controller = state.get("controller", {})
    yield from (f"reason   {each['message']}" for each in controller.get("reasons", []))
    yield from (f"cause    {each}" for each in controller.get("causes", []))
    told: dict[str, list[str]] = {}
    for actor in state["actors"]:
        if "unreachable_callbacks" in actor:
            told.setdefault(actor["unreachable_callbacks"], []).append(actor["name"])
    for url, names in sorted(told.items()):
        yield f"warning  {UNREACHED.format(url=url, names=', '.join(names))}"
    yield from (f"warning  {each}" for each in controller.get("warnings", []))


def _of_actor(actor: Any) -> str:
    version = actor.get("settings_version", "unknown")
    facts = [
        _node_of(actor),
        f"settings {version}" if actor["current"] else f"settings {version} (not as wanted)",
        f"code {actor.get('code_version', 'unknown')}",
    ]
    if actor["partitions"]:
        facts += [f"{actor['partitions']} partitions", f"{actor['hot']} hot"]
    if "stored" in actor:
        facts.append(f"{actor['stored']} stored")
    facts.append(f"{actor['calls']} calls")
    if "queue" in actor:
        facts.append(f"queue {actor['queue']}")
    if actor["partitions"] and "append_ms" in actor:
        facts.append(f"append {actor['append_ms']:.1f} ms")
    facts += [f"{actor[name]} {name}" for name in ("restarts", "fencings") if name in actor]
    return ", ".join(facts if actor["ready"] else [*facts, "starts"])


def _node_of(shown: Any) -> str:
    address = f" at {shown['address']}" if "address" in shown else ""
    return f"node {shown['node'][:SHOWN_ID]}{address}"
