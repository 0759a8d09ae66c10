"""Commands that run servers: the whole stack, and the test double of the function gateway.

Used by `cli/application.py`.
"""

import importlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rillflow.cli.visible import say
from rillflow.runtime.process.stop_signals import FAILED, INTERRUPTED, SIGNALS, stop_signals

if TYPE_CHECKING:
    from rillflow.local_keys import Announcement
    from rillflow.settings import Settings

CLOCK_TICKS = "SC_CLK_TCK"
CALLBACK_PATIENCE_S = 60.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
END_S = 10.0
"""How long the end of a stack may take that has failed."""


ApiPort = Annotated[
    int | None, typer.Option(help="Port of the HTTP API; 8080 by default, 0 for any free port.")
]
ApiHost = Annotated[
    str | None,
    typer.Option(help="Address to listen on; 127.0.0.1 by default. Any but loopback needs a key."),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the embedded store; .rillflow by default.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option(help="URL of a PostgreSQL store: postgresql://user:password@host/database."),
]
TakeOver = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Have the deployment that holds the store end, which the refusal to start names.",
    ),
]
ExecutionActors = Annotated[
    int | None, typer.Option(min=1, max=256, help="Number of execution actors.")
]
DispatcherActors = Annotated[
    int | None,
    typer.Option(min=1, max=256, help="Number of dispatchers, which make the outbound calls."),
]
CallableModules = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE",
        help="Python module or .py file whose functions tasks may call by ray://. May be repeated.",
    ),
]
WithKey = Annotated[
    bool,
    typer.Option(
        "--key",
        help="Require an API key. The key is generated once; programs of this user on this"
        " machine find it.",
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow any address without an API key.")]
TlsCert = Annotated[
    Path | None,
    typer.Option(help="Certificate, in PEM form: the API then answers by HTTPS only."),
]
TlsKey = Annotated[
    Path | None, typer.Option(help="Key of the certificate, if it is not in the same file.")
]
Dashboard = Annotated[
    bool,
    typer.Option(
        "--dashboard",
        help="Also start Ray's dashboard, for `RAY_AUTH_MODE=token ray list actors`.",
    ),
]
Traced = Annotated[
    bool,
    typer.Option("--trace", help="Show the trace of each execution here when it has ended."),
]


def up(
    port: ApiPort = None,
    host: ApiHost = None,
    data_dir: DataDir = None,
    store: StoreUrl = None,
    take_over: TakeOver = None,
    execution_actors: ExecutionActors = None,
    dispatcher_actors: DispatcherActors = None,
    functions: CallableModules = None,
    key: WithKey = False,
    insecure: Insecure = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    dashboard: Dashboard = False,
    trace: Traced = False,
) -> None:
    """Start a whole stack on this machine and serve until Ctrl-C.

    Accepted executions are on disk: when the server is stopped or killed and started again, every
    execution goes on. Options override RILLFLOW_* variables, and those override rillflow.toml. To
    listen beyond this machine, the server needs --key, a key in RILLFLOW_API_KEY, or --insecure.

        $ rillflow up --host 0.0.0.0 --key --tls-cert server.pem --tls-key server.key

        $ rillflow up --functions pipeline.py --port 9000 --data-dir /var/lib/rillflow
    """
    settings, announcement = _settings(
        with_key=key,
        port=port,
        host=host,
        data_dir=data_dir,
        store=store,
        take_over=take_over,
        execution_actors=execution_actors,
        dispatcher_actors=dispatcher_actors,
        functions=functions or (),
        insecure=insecure or None,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    _warn(settings)
    stack = _standalone(settings, announcement, dashboard=dashboard)
    _serve(stack, settings, announcement, traced=trace)


def _standalone(
    settings: "Settings", announcement: "Announcement | None", *, dashboard: bool
) -> Any:
    # The serving layer stands above this one, so it is known by its name only.
    standalone = importlib.import_module("serve.stack.standalone")

    def tell(step: str) -> None:
        if announcement is not None and step == "api":  # HAProxy listens, and nobody else can
            announcement.make()
        _tell_step(step)

    return standalone.Standalone(settings, dashboard=dashboard, tell=tell)


def _serve(
    stack: Any,
    settings: "Settings",
    announcement: "Announcement | None",
    *,
    traced: bool = False,
    end_s: float = END_S,
) -> None:
    stopped = threading.Event()
    code, has_failed = 0, False
    with stop_signals() as signals:
        signals.handle(signal.default_int_handler)
        try:
            facts = stack.start()
            signals.tell(stopped)
            _banner(facts, settings, announcement)
            with _ended_traces(settings) if traced else nullcontext():
                stack.run_until(stopped)
            say("\nstopping ...")
        except BaseException as error:
            # What the signal interrupts may make another error of it.
            if not (isinstance(error, KeyboardInterrupt) or signals.have_come):
                has_failed = True
                raise
            code = INTERRUPTED
            say("\nstopping during the start ...")
        finally:
            signals.handle(lambda *_: None)
            if has_failed:
                signals.end_within(end_s)
            if announcement is not None:
                announcement.withdraw()
            stack.stop(code or FAILED)
    say("stopped; accepted executions go on at the next start")
    _leave_held_threads(code)
    raise typer.Exit(code)


def _leave_held_threads(code: int) -> None:
    """End this process where a thread would keep it.

    A call of Ray that was under way when Ray's processes ended may never return.
    """
    main = threading.main_thread()
    if any(each is not main and not each.daemon for each in threading.enumerate()):
        importlib.import_module("serve.stack.local_ray").end_at_once(code)


@contextmanager
def _ended_traces(settings: "Settings") -> Iterator[None]:
    """Draw the traces of executions as they end."""
    from rillflow.cli.output.ended_traces import EndedTraces

    key = settings.api_key
    host = ANY_ADDRESS.get(settings.host, settings.host)
    address = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.tls_cert is None else "https"
    url = f"{scheme}://{address}:{settings.port}"
    shown = None if key is None else key.get_secret_value()
    traces = EndedTraces(url, shown, settings.tls_cert)
    traces.start()
    try:
        yield
    finally:
        traces.stop()


def _tell_step(step: str) -> None:
    # Ray sets a handler of its own when it starts.
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    steps = {"ray": "starting Ray", "serve": "starting the actors", "api": "starting the HTTP API"}
    say(f"{since_start_s():5.1f} s  {steps.get(step, step)}", err=True)


def _banner(
    facts: dict[str, str], settings: "Settings", announcement: "Announcement | None"
) -> None:
    lines = [
        f"\nRillflow is up after {since_start_s():.1f} s",
        "",
        f"  console     {facts['url']}/console",
        f"  API         {facts['url']}",
        f"  described   {facts['url']}/docs",
        f"  data        {settings.data_dir.resolve()}",
        *([] if announcement is None else [f"  with key    file://{announcement.page}"]),
        f"  Ray         {facts['ray_address']}",
        f"  logs        {facts['logs_dir']}",
    ]
    if facts["dashboard_url"]:
        lines.append(f"  dashboard   {facts['dashboard_url']}")
    if settings.callback_base_url.partition("//")[2].startswith(("0.0.0.0:", "[::]:")):
        lines += [
            "",
            "Functions on other machines cannot call back: set the address of this machine,",
        ]
        lines += [f"RILLFLOW_SERVER_HOST={settings.base_url.partition(':')[0]}://<address>:<port>."]
    lines += ["", "Ctrl-C stops it."]
    say("\n".join(lines))


def since_start_s() -> float:
    """Tell how long this process has existed, the start of Python included; 0 if unknown."""
    import os

    try:
        # Field 22 of stat, counted after the name, which may hold blanks.
        stat = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        began_s = int(stat[19]) / os.sysconf(CLOCK_TICKS)
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_s


def _warn_of_variables() -> None:
    """Say which variables look like settings and are none: they are most likely misspelt."""
    import os

    from rillflow.unknown_settings import unknown_variables

    for warning in unknown_variables(os.environ):
        say(f"warning: {warning}", err=True)


def _warn(settings: "Settings") -> None:
    """Say what is set for nothing, or sets no bound where there should be one."""
    _warn_of_switches(settings)
    _warn_of_secrets(settings)
    _warn_of_keys(settings)
    _warn_of_folder(settings)


def _warn_of_switches(settings: "Settings") -> None:
    """Say which switches are set for nothing."""
    from rillflow.setting_values import idle_switches

    for warning in idle_switches(settings.switches):
        say(f"warning: {warning}", err=True)


def _warn_of_keys(settings: "Settings") -> None:
    """Say which keys can be guessed, unless the start refuses them for the address."""
    from rillflow.local_keys import guessable_keys
    from rillflow.settings import is_loopback

    for name, warning in guessable_keys(settings).items():
        if name == "auth_secret" or settings.insecure or is_loopback(settings.host):
            say(f"warning: {warning}", err=True)


def _warn_of_folder(settings: "Settings") -> None:
    """Say whether others can put another folder in the place of the data folder."""
    import os

    from rillflow.trusted_files.owners import why_movable

    if reason := why_movable(settings.data_dir, os.geteuid()):
        say(f"warning: the data folder {settings.data_dir} can be replaced: {reason}", err=True)


def _warn_of_secrets(settings: "Settings") -> None:
    """Say which secrets any definition may send anywhere."""
    from rillflow.gateways.secrets.store import Secrets, unbounded_warning

    secrets = Secrets(settings.secrets_dir, hosts=settings.secret_hosts)
    for name in secrets.unbounded():
        say(f"warning: {unbounded_warning(name)}", err=True)


def _settings(
    *, with_key: bool, functions: Sequence[str], **given: Any
) -> tuple["Settings", "Announcement | None"]:
    """Return the settings; with the key that the data folder keeps, and how it is found."""
    from rillflow.cli.inputs import settings_from

    _warn_of_variables()

    if given.get("port") == 0:
        given["port"] = importlib.import_module("serve.listening").free_port()
    settings = settings_from(given)
    if functions:
        given |= _with_functions(settings, functions)
        settings = settings_from(given)
    if not with_key:
        return settings, None
    from rillflow.local_keys import Announcement, kept_key

    if settings.api_key is not None:
        raise typer.BadParameter("api_key (RILLFLOW_API_KEY) is set already; leave --key out")
    key = kept_key(settings.data_dir)
    settings = settings_from({**given, "api_key": key})
    scheme = "http" if settings.tls_cert is None else "https"
    place = (settings.data_dir, settings.host, settings.port)
    return settings, Announcement(*place, key, scheme=scheme)


def _with_functions(settings: "Settings", functions: Sequence[str]) -> dict[str, Any]:
    """Return the settings that let tasks call functions of modules and of ``.py`` files.

    Raises:
        typer.BadParameter: A file or module is not there, or the file is no Python.
    """
    modules, path = list(settings.ray_modules), list(settings.ray_path)
    for text in functions:
        file = Path(text)
        if not text.endswith(".py"):
            _refuse_missing_module(text, path)
            modules.append(text)
            continue
        if not file.is_file():
            raise typer.BadParameter(f"--functions: there is no file {text}")
        _refuse_broken_file(file)
        modules.append(file.stem)
        path.append(file.absolute().parent)
    return {
        "ray_modules": tuple(dict.fromkeys(modules)),
        "ray_path": tuple(dict.fromkeys((*path, Path.cwd()))),
    }


def _refuse_missing_module(name: str, path: Sequence[Path]) -> None:
    """Refuse a module whose package nobody finds; nothing of it is run here."""
    package = name.partition(".")[0]
    if not package.isidentifier() or package in sys.builtin_module_names:
        return  # the settings tell what is no name
    if PathFinder.find_spec(package, [*map(str, (*path, Path.cwd())), *sys.path]) is None:
        raise typer.BadParameter(
            f"--functions: there is no module {name}; it is looked for in the working folder, in"
            " ray_path and among installed packages"
        )


def _refuse_broken_file(file: Path) -> None:
    try:
        compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        where = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise typer.BadParameter(f"--functions: {file}{where} is no Python: {error}") from error


def gateway(
    functions: Annotated[
        list[str],
        typer.Option(
            metavar="MODULE[:NAME]",
            help="Module or .py file with a dict of functions named FUNCTIONS. May be repeated.",
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free port.")
    ] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not log calls.")] = False,
) -> None:
    """Serve Python functions in the manner of an OpenFaaS gateway, for tests and examples.

    /function/NAME answers with the result. /async-function/NAME answers 202
    and calls X-Callback-Url later. If the callback is not accepted, the gateway
    repeats it for a minute (OpenFaaS itself sends it once). A function takes one
    request, whose body is request.json(), and returns a dict. The gateway logs
    each call on standard error: the traceback of a failure, then the function,
    its status and its duration.

        $ rillflow gateway --functions doubles.py
    """
    import asyncio

    from rillflow.listening import listening_sockets
    from rillflow.testing import openfaas

    served: dict[str, Any] = {}
    for text in functions:
        try:
            served.update(openfaas.load_functions(text))
        except Exception as error:
            # Importing what somebody has written may raise anything.
            reason = f"{text}: {type(error).__name__}: {error}"
            raise typer.BadParameter(reason) from error
    for unused in listening_sockets(host, port):
        unused.close()
    asyncio.run(
        openfaas.serve(
            served, host=host, port=port, quiet=quiet, callback_patience_s=CALLBACK_PATIENCE_S
        )
    )


def print_version(wanted: bool) -> None:
    """Print the versions and leave, if that is wanted."""
    if wanted:
        version()
        raise typer.Exit


def version() -> None:
    """Print the versions of Rillflow, Ray and Python."""
    import platform
    from importlib.metadata import version as version_of

    say(
        f"rillflow {version_of('rillflow')}, ray {version_of('ray')},"
        f" Python {platform.python_version()}"
    )
