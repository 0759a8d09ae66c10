"""One stack for most cluster tests, started as its users start it, and what stands around it.

A test that wants to kill or restart a stack starts one of its own (``OwnStack``). When a
test fails, the last words of the stack stand in its report.

Tests may run in two processes (``--dist=loadscope``). Those that use the shared stacks run in one
of them, those of other modules in any, each module in one.
"""

import asyncio
import json
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from playwright.sync_api import Browser
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import rillflow
from tests.cluster.api import Api, Functions
from tests.cluster.browsers import Visit, chromium, running
from tests.cluster.console_visits import KEY, signed_in
from tests.cluster.functions import CHAT_KEY
from tests.cluster.old_executions import fill
from tests.cluster.poolers import pgbouncer
from tests.cluster.processes import (
    ROOT,
    OwnStack,
    RayDriver,
    announced,
    function_gateway,
    function_server,
    install,
)
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer

HERE: Final = Path(__file__).parent
HAS_BROWSER: Final = chromium() is not None
IN_BROWSER: Final = ["test_console.py", "test_console_list.py", "test_console_speed.py"]
THROUGH_POOLER: Final = ["test_pgbouncer.py"]
# Without these programs the others run all the same, and the report says so; CI has to have them.
collect_ignore: Final = [
    name
    for is_there, names in ((HAS_BROWSER, IN_BROWSER), (pgbouncer(), THROUGH_POOLER))
    for name in names
    if not is_there and "CI" not in os.environ
]
PLUGINS: Final = ("Shout", "Chat")
LAST_BYTES: Final = 4_000
SHARED: Final = frozenset({"stack", "begun_stack"})
APART: Final = frozenset(
    {
        "test_absent_application.py",
        "test_callback_address.py",
        "test_cluster_check.py",
        "test_console.py",
        "test_console_list.py",
        "test_console_speed.py",
        "test_deaths.py",
        "test_deploying.py",
        "test_failing_peers.py",
        "test_forked_workers.py",
        "test_front.py",
        "test_gateways.py",
        "test_kill_everything.py",
        "test_node_death.py",
        "test_nodes.py",
        "test_one_store.py",
        "test_pgbouncer.py",
        "test_ray_calls.py",
        "test_ray_exports.py",
        "test_ray_jobs.py",
        "test_ray_native.py",
        "test_ray_node_loss.py",
        "test_ray_page.py",
        "test_ray_task_actors.py",
        "test_ray_tasks.py",
        "test_ray_tls.py",
        "test_readme.py",
        "test_serve_deploy.py",
        "test_spare_workers.py",
        "test_up.py",
        "test_upgrade.py",
        "test_upgrade_of_commit.py",
        "test_wheel.py",
    }
)
"""Modules whose tests use none of the shared stacks, so that each may run in any process."""
FIRST: Final = ("test_upgrade.py", "test_upgrade_of_commit.py")
"""Modules that take minutes: begun last, they would run on while other processes have ended."""
_LOGS: Final[list[Path]] = []
_SHARED_STACKS: Final[list[OwnStack]] = []
_FAILED: Final[dict[int, tuple[BaseException, str]]] = {}
"""Failures of fixtures, and the tests that met them first. What is shared fails for all others."""


class _ByStack(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Gives each process whole modules, and all modules that share a stack to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0]).name
        return module if module in APART else "shared"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Divide the tests by what they share where modules are kept together."""
    return _ByStack(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_report_header() -> list[str]:
    """Say which programs of the system the tests use."""
    programs = (("chromium", chromium(), IN_BROWSER), ("pgbouncer", pgbouncer(), THROUGH_POOLER))
    return [
        f"{name}: {found or f'none (apt-get install {name}), so these do not run: {tests}'}"
        for name, found, tests in programs
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest modules begin first, then those that share stacks, then the others.

    Raises:
        pytest.UsageError: A second process would start the shared stacks as well.
    """
    items.sort(key=lambda item: (item.path.name not in FIRST, item.path.name in APART))
    for item in items:
        if item.path.name in APART and SHARED.intersection(_fixtures_of(item)):
            raise pytest.UsageError(f"{item.nodeid} uses a shared stack, but is in APART")


@pytest.fixture(name="archive", scope="session")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stack writes what ended long ago."""
    return tmp_path_factory.mktemp("archived") / "archive"


@pytest.fixture(name="stack", scope="session")
def _stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, archive: Path
) -> Iterator[OwnStack]:
    """The stack of most tests, which finds some old executions in its store."""
    data_dir = tmp_path_factory.mktemp("stack") / "data"
    asyncio.run(fill(data_dir))
    stack = OwnStack(data_dir, closed_port(), RILLFLOW_ARCHIVE_DIR=str(archive))
    _LOGS.append(stack.log)
    _SHARED_STACKS.append(stack)
    try:
        stack.start()
        if any("other_stack" in _fixtures_of(item) for item in request.session.items):
            request.getfixturevalue("begun_stack")
        yield stack
    finally:
        stack.stop()


@pytest.fixture(name="begun_stack", scope="session")
def _begun_stack(
    tmp_path_factory: pytest.TempPathFactory, gateway: SimpleNamespace
) -> Iterator[OwnStack]:
    """The other stack, which gets ready while tests use the first one."""
    packages = tmp_path_factory.mktemp("packages")
    install(ROOT / "examples" / "plugins" / "rillflow_echo", packages)
    stack = OwnStack(
        tmp_path_factory.mktemp("other") / "data",
        closed_port(),
        *("--execution-actors", "2", "--dispatcher-actors", "2"),
        RILLFLOW_PLUGINS=",".join(f"tests.cluster.stub_dispatchers:{name}" for name in PLUGINS),
        RILLFLOW_CHATGPT_BASE_URL=f"{gateway.url}/function",
        RILLFLOW_SECRET_CHAT=CHAT_KEY,
        PYTHONPATH=f"{ROOT}:{packages}",
    )
    _LOGS.append(stack.log)
    _SHARED_STACKS.append(stack)
    try:
        stack.begin()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(name="other_stack", scope="session")
def _other_stack(begun_stack: OwnStack) -> OwnStack:
    """A stack with more actors, with plugins, and for tests that kill it and start it again."""
    begun_stack.wait_until_ready()
    return begun_stack


@pytest.fixture(name="other_api", scope="session")
def _other_api(other_stack: OwnStack) -> Iterator[Api]:
    with Api(other_stack.base_url) as api:
        yield api


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[PostgresServer]:
    """A PostgreSQL for the tests of one module, which may kill it."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(name="gateway", scope="session")
def _gateway() -> Iterator[SimpleNamespace]:
    with function_gateway(HERE / "functions.py") as url:
        yield SimpleNamespace(url=url)


@pytest.fixture(name="functions", scope="session")
def _functions() -> Iterator[Functions]:
    with announced(str(HERE / "function_service.py")) as url:
        functions = Functions(url)
        yield functions
        functions.close()


@pytest.fixture(name="client", scope="session")
def _client(stack: OwnStack) -> Iterator[rillflow.Client]:
    with rillflow.Client(stack.base_url) as client:
        yield client


@pytest.fixture(name="api", scope="session")
def _api(stack: OwnStack) -> Iterator[Api]:
    with Api(stack.base_url) as api:
        yield api


@pytest.fixture(name="driver", scope="session")
def _driver(stack: OwnStack) -> Iterator[RayDriver]:
    driver = RayDriver(stack.ray_address)
    yield driver
    driver.close()


@pytest.fixture(name="console", scope="module")
def _console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A stack with an API key, whose console is looked at."""
    data_dir = tmp_path_factory.mktemp("console") / "data"
    stack = OwnStack(data_dir, closed_port(), RILLFLOW_API_KEY=KEY)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(name="console_functions", scope="module")
def _console_functions() -> Iterator[str]:
    with function_server(ROOT / "examples" / "functions.py") as url:
        yield url


@pytest.fixture(name="console_api", scope="module")
def _console_api(console: OwnStack) -> Iterator[Api]:
    with Api(console.base_url) as api:
        api.http.headers["Authorization"] = f"Bearer {KEY}"
        yield api


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    with running() as browser:
        yield browser


@pytest.fixture(name="signed_in", scope="module")
def _signed_in(browser: Browser, console: OwnStack) -> Any:
    return signed_in(browser, console.base_url)


@pytest.fixture(name="visit")
def _visit(browser: Browser, console: OwnStack, signed_in: Any) -> Iterator[Visit]:
    visit = Visit(browser, console.base_url, storage_state=signed_in)
    yield visit
    visit.close()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the shared stacks after their last test; a stack without work takes a twelfth of a core.

    Only where modules are kept together: in one process, others that use the stacks may follow.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and nextitem and nextitem.path.name in APART:
        while _SHARED_STACKS:
            _SHARED_STACKS.pop().stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the last words of the stack to the report of a failure, once for each failure."""
    report = yield
    if report.failed and item.path.is_relative_to(HERE):
        first = _met_first(item, call)
        if first != item.nodeid:
            report.longrepr = f"a fixture that is shared has failed before, see {first}"
            return report
        for log in _LOGS:
            report.sections.extend(_last_words(log))
    return report


def _met_first(item: pytest.Item, call: pytest.CallInfo[None]) -> str:
    """Return which test has met this failure of a fixture first."""
    if call.when != "setup" or call.excinfo is None:
        return item.nodeid
    error = call.excinfo.value
    return _FAILED.setdefault(id(error), (error, item.nodeid))[1]


def _fixtures_of(item: pytest.Item) -> Sequence[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()


def _last_words(log: Path) -> Iterator[tuple[str, str]]:
    if log.exists():
        yield f"log of {log}", _end_of(log)
    note = log.with_suffix("") / "stack.json"
    if not note.exists():
        return
    folder = Path(json.loads(note.read_text(encoding="utf-8")).get("logs_dir", ""))
    for file in sorted(folder.glob("worker-*.err")):
        words = _end_of(file)
        if "Error" in words or "WARNING" in words:
            yield f"log of {file.name}", words


def _end_of(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")[-LAST_BYTES:]
