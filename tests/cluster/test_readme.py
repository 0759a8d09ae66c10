"""Whatever the documents show works as it stands: every block is run by a test.

They are run in a folder like a clone of this repository, by bash, with the addresses of
this test's own stack and gateway where the documents have 8080 and 8081. The pages of ``OWN_TESTS``
have tests of their own.
"""

import asyncio
import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import httpx
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

import rillflow
from rillflow.definition import parse_definition
from rillflow.runtime.process.log_lines import LineFormatter
from rillflow.settings import Settings
from rillflow.stores import upgrade_schema
from serve.listening import free_port
from serve.middleware.signatures import request_signature
from tests.cluster.players import PLAYER
from tests.cluster.processes import LOOK_S, ROOT, OwnStack, descendants, function_server, kill
from tests.cluster.ray_head import BASH, RayHead
from tests.contract.tables import run_sql
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer
from tests.spec.documented import blocks_of

pytestmark = pytest.mark.cluster

API: Final = "http://127.0.0.1:8080"
GATEWAY: Final = "http://127.0.0.1:8081"
EXAMPLES: Final = ROOT / "examples"
PATIENCE_S: Final = 60
DEMO_S: Final = 240.0
"""Two minutes on a machine of its own, and as long again beside other tests."""
OWN_TESTS: Final = (
    "docs/access.md",
    "docs/artifacts.md",
    "docs/console-api.md",
    "docs/functions.md",
    *("docs/language.md", "docs/postgresql.md"),
    "docs/ray.md",
)
DOCUMENTS: Final = (
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
COMMAND: Final = re.compile(r"`((?:ray|serve|rillflow|curl|pip|python|bash) [^`]+)`")
ANSWER: Final = re.compile(r"^# (\{.*)$", re.MULTILINE)
WITH_PROGRAMS: Final = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
MARK: Final = "-- the next block"


def _texts() -> dict[str, str]:
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}


FACT: Final = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*")')
LEFT: Final = {
    (name, block.heading, block.line): block.text
    for name, text in _texts().items()
    if name not in OWN_TESTS
    for block in blocks_of(text)
}


def _take(document: str, heading: str) -> tuple[str, ...]:
    """Return the blocks under a heading, which a test of this file runs."""
    found = [key for key in LEFT if key[:2] == (document, heading)]
    return tuple(LEFT.pop(key) for key in found)


def _take_page(document: str) -> tuple[str, ...]:
    """Return all blocks of a page, which a test of this file runs one after the other."""
    return tuple(LEFT.pop(key) for key in [key for key in LEFT if key[0] == document])


[WORKFLOW] = _take("README.md", "A workflow")
UP, FUNCTIONS, BY_HAND, BY_COMMAND, STEERING = _take("README.md", "Use it by hand")
OVER_HTTP, ON_RAY = _take("README.md", "Use it from Python")
CLUSTER, SERVE_RUN = _take("README.md", "Use it on a cluster")
[LOGGED] = _take("docs/reliability.md", "What is logged")
ELSEWHERE, IN_PYTHON = _take("examples/README.md", "Examples")
[PLAY] = _take("examples/README.md", "Text to video")
PYTHON_PAGE = _take_page("docs/python.md")
[DEMO] = _take("docs/operations.md", "Two nodes on one machine")
[DEPLOYING] = _take("docs/operations.md", "Real machines")
[CERTIFYING] = _take("docs/operations.md", "Certificates of Ray")
[UPGRADING] = _take("docs/operations.md", "Upgrade, and back")
[STOPPING] = _take("docs/operations.md", "Stop")
[WATCHING] = _take("docs/operations.md", "Watch")
[GATEWAY_TLS] = _take("docs/operations.md", "TLS")
[EXAMINING] = _take("docs/operations.md", "Examine")
*BACKING_UP, RESTORING = _take("docs/backup.md", "The embedded store")
[MOVING] = _take("docs/backup.md", "Move to another store")
[WITH_POSTGRES] = _take("docs/backup.md", "PostgreSQL")
MODULE, SETTINGS = _take("docs/extending.md", "Extending Rillflow")
[OWN_PROTOCOL] = _take("docs/extending.md", "Dispatchers")
[REHEARSAL] = _take("docs/extending.md", "Hooks")
BY_CURL = _take_page("docs/http.md")
[TRACES] = _take("docs/telemetry.md", "Traces")
[METRICS] = _take("docs/telemetry.md", "Metrics")
TRIGGER_COMMANDS, TRIGGERS_IN_PYTHON = _take_page("docs/triggers.md")


class Clone(NamedTuple):
    """A folder like a clone after ``make setup``, and where this test's own servers are."""

    folder: Path
    port: int
    gateway_port: int

    def mended(self, text: str) -> str:
        """Put the addresses of this test in the place of the documented ones."""
        text = text.replace("functions serve", f"functions serve --port {self.gateway_port}")
        text = text.replace(GATEWAY, f"http://127.0.0.1:{self.gateway_port}")
        return text.replace(API, f"http://127.0.0.1:{self.port}")

    def bash(self, text: str, folder: Path | None = None, **environment: str) -> str:
        """Run a block, and return what it wrote."""
        return _bash(self.mended(text), folder or self.folder, environment)

    def python(self, text: str, **environment: str) -> str:
        """Run a block as a script, and return what it printed last."""
        written = _ended([sys.executable, "-c", self.mended(text)], self.folder, environment)
        return written.splitlines()[-1]


class DocumentedStack(OwnStack):
    """A stack that is started just as the document says, in a clone."""

    def __init__(self, clone: Clone) -> None:
        data = clone.folder / ".rillflow"
        environment = {"PYTHONPATH": f"{clone.folder}:{ROOT}", "RILLFLOW_PORT": str(clone.port)}
        super().__init__(data, clone.port, **environment)
        self._command = [BASH, "-c", UP]
        self._folder = clone.folder


@pytest.fixture(name="clone", scope="module")
def _clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("clone"), closed_port(), closed_port())
    (clone.folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(EXAMPLES, clone.folder / "examples")
    for file in (clone.folder / "examples").rglob("*.yaml"):
        file.write_text(clone.mended(file.read_text(encoding="utf-8")), encoding="utf-8")
    (clone.folder / "house_rules.py").write_text(MODULE, encoding="utf-8")
    (clone.folder / "rillflow.toml").write_text(SETTINGS, encoding="utf-8")
    return clone


@pytest.fixture(name="by_hand", scope="module")
def _by_hand(clone: Clone) -> Iterator[OwnStack]:
    stack = DocumentedStack(clone)
    try:
        with subprocess.Popen(
            [BASH, "-c", clone.mended(FUNCTIONS)],
            stdout=subprocess.PIPE,
            cwd=clone.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as functions:
            try:
                assert functions.stdout is not None
                assert functions.stdout.readline()
                stack.start()
                yield stack
            finally:
                kill(functions.pid, *descendants(functions.pid))
    finally:
        stack.stop()


@pytest.fixture(name="quickstart", scope="module")
def _quickstart(clone: Clone, by_hand: OwnStack) -> tuple[str, str]:
    """The curl commands of the document: what they wrote, and the last of them once more."""
    assert by_hand.pid
    before, answer, after = re.split(r"^# (.*)\n", BY_HAND, flags=re.MULTILINE)
    written = clone.bash(before)
    submitted = re.search(answer.replace("...", '([^"]+)'), written)
    assert submitted, written
    api = before.partition("\n")[0]
    look = api + after.replace("quickstart_c_...", "quickstart_c_" + submitted[1])
    give_up = time.monotonic() + PATIENCE_S
    while '"dag_status":"RUNNING"' in (shown := clone.bash(look)):
        assert time.monotonic() < give_up, shown
        time.sleep(LOOK_S)
    return written, shown


def test_the_commands_by_hand_add_submit_and_look(quickstart: tuple[str, str]) -> None:
    written, shown = quickstart
    assert '"descriptor_id":"examples:quickstart:' in written
    assert '"dag_status":"SUCCEED"' in shown
    assert '"shouted":"HELLO, BOB!"' in shown


def test_the_command_line_does_the_same(clone: Clone, by_hand: OwnStack) -> None:
    written = clone.bash(BY_COMMAND, RILLFLOW_URL=by_hand.base_url)
    assert "examples:quickstart:md5_" in written
    assert '"HELLO, BOB!"' in written


def test_the_command_line_finds_executions_and_steers_them(clone: Clone, by_hand: OwnStack) -> None:
    lines = clone.bash(STEERING, RILLFLOW_URL=by_hand.base_url).splitlines()
    execution_id = lines[1].split()[3]
    assert lines[1].endswith(f"RUNNING      {execution_id}  waits for approval (a wake-up)")
    orders = ("paused", "resumed", "cancelled", "redone")
    assert lines[2:6] == [f"{order} {execution_id}" for order in orders]
    assert json.loads("".join(lines[6:]))["status"] == "RUNNING"
    with rillflow.Client(by_hand.base_url) as client:
        execution = client.execution(execution_id)
        execution.wake_up("approval", {"approved": True})
        assert execution.result(timeout_s=PATIENCE_S)["greeting"] == "Hello, Eve!"


def test_the_workflow_of_the_first_page_is_the_quickstart_and_runs(
    clone: Clone, by_hand: OwnStack
) -> None:
    example = (EXAMPLES / "quickstart.yaml").read_text(encoding="utf-8")
    assert parse_definition(WORKFLOW) == parse_definition(example)
    with rillflow.Client(by_hand.base_url) as client:
        execution = client.submit(client.add(clone.mended(WORKFLOW)), {"name": "Eve"})
        assert execution.result(timeout_s=PATIENCE_S)["shouted"] == "HELLO, EVE!"


@pytest.mark.usefixtures("quickstart")
def test_the_client_works_over_http(clone: Clone) -> None:
    assert clone.python(OVER_HTTP) == "HELLO, BOB!"


@pytest.mark.usefixtures("quickstart")
def test_the_client_works_on_the_ray_cluster(clone: Clone, by_hand: OwnStack) -> None:
    assert clone.python(ON_RAY, RAY_ADDRESS=by_hand.ray_address) == "HELLO, BOB!"


@pytest.mark.usefixtures("quickstart")
def test_triggers_are_managed_by_commands_and_in_python(clone: Clone, by_hand: OwnStack) -> None:
    lines = clone.bash(TRIGGER_COMMANDS, RILLFLOW_URL=by_hand.base_url).splitlines()
    assert lines[0] == "nightly"
    assert lines[1].startswith("nightly  examples:quickstart  0 2 * * * Europe/Berlin  next 2")
    fired = [line for line in lines if line.startswith("examples:quickstart_c_")]
    assert len(fired) == 2
    with rillflow.Client(by_hand.base_url) as client:
        result = client.execution(fired[0]).result(timeout_s=PATIENCE_S)
    assert result["shouted"] == "HELLO, BOB!"
    assert clone.python(TRIGGERS_IN_PYTHON) == "[('nightly', 0)]"


@pytest.mark.parametrize("page", ["/docs", "/healthz", "/readyz"])
def test_the_server_has_the_pages_that_are_named(by_hand: OwnStack, page: str) -> None:
    assert f"{page}`" in _texts()["README.md"]
    assert httpx.get(by_hand.base_url + page, trust_env=False).status_code == 200


def test_an_example_is_added_for_a_gateway_elsewhere(clone: Clone, by_hand: OwnStack) -> None:
    there = {"GATEWAY": clone.mended(GATEWAY)}
    written = _bash(ELSEWHERE.replace(API, by_hand.base_url), ROOT, there)
    assert '"descriptor_id":"examples:quickstart:' in written
    with rillflow.Client(by_hand.base_url) as client:
        execution = client.submit("examples:quickstart", {"name": "Ann"})
        assert execution.result(timeout_s=PATIENCE_S)["shouted"] == "HELLO, ANN!"


def test_flows_in_python_are_added_and_run(clone: Clone, by_hand: OwnStack) -> None:
    """The other blocks of the page are compared by ``tests/spec/test_python_page.py``."""
    module, _, commands, script, *_ = PYTHON_PAGE
    (clone.folder / "greeting.py").write_text(clone.mended(module), encoding="utf-8")
    here = {"RILLFLOW_URL": by_hand.base_url, "PATH": f".venv/bin:{os.environ['PATH']}"}
    valid, added, *result = clone.bash(commands, None, **here).splitlines()
    assert valid == "greeting.py:greeting as YAML is a valid definition"
    assert added.startswith("demo:greeting:md5_")
    assert json.loads("".join(result))["shouted"] == "HELLO, BOB!"
    assert clone.python(script, PYTHONPATH=f"{clone.folder}:{ROOT}") == "HELLO, BOB!"
    flows = clone.folder / "examples" / "flows.py"
    flows.write_text(clone.mended(flows.read_text(encoding="utf-8")), encoding="utf-8")
    shown = clone.bash(IN_PYTHON, None, **here)
    assert json.loads(shown)["shouted"] == "HELLO, BOB!"


def test_the_page_of_the_http_api_shows_what_is_answered(clone: Clone, by_hand: OwnStack) -> None:
    """All of its blocks are one script; a line ``# {`` is an answer of the block it stands in."""
    assert by_hand.pid
    marked = [f"echo '{MARK}'\n{block}\n" for block in BY_CURL]
    written = clone.bash("".join(marked) + f'echo "{MARK}$signed $sign"')
    *answers, signing = written.split(MARK)[1:]
    for block, answer in zip(BY_CURL, answers, strict=True):
        for shown in ANSWER.findall(clone.mended(block)):
            pattern = ".*".join(re.escape(part) for part in shown.split("..."))
            assert re.search(pattern, answer), (shown, answer)
    signed, sign = signing.split()
    path, fields = "/flow/status/check.json", dict(parse_qsl(signed))
    assert sign == request_signature("secret", "GET", path, fields)


def test_the_page_of_telemetry_shows_the_metrics(clone: Clone, by_hand: OwnStack) -> None:
    assert by_hand.pid
    assert 'rillflow_process_up{process="rillflow:execution:0"} 1.0\n' in clone.bash(METRICS)


def test_the_page_of_telemetry_draws_a_trace(clone: Clone, by_hand: OwnStack) -> None:
    drawn = clone.bash(TRACES, RILLFLOW_URL=by_hand.base_url)
    assert re.search(r"^examples:quickstart .* ━+$", drawn, re.MULTILINE), drawn


def test_a_film_can_be_played(clone: Clone, by_hand: OwnStack, tmp_path: Path) -> None:
    """The player is a stand-in that looks at what it is given."""
    player = tmp_path / "mpv"
    player.write_text(PLAYER, encoding="utf-8")
    player.chmod(0o700)
    example = EXAMPLES / "text-to-video"
    text = (example / "workflow.yaml").read_text(encoding="utf-8")
    with (
        function_server(example / "functions.py") as url,
        rillflow.Client(by_hand.base_url) as client,
    ):
        execution = client.submit(
            client.add(text.replace(GATEWAY, url)), {"topic": "tea", "scenes": 1}
        )
        result = execution.result(timeout_s=PATIENCE_S)["result"]
    assert isinstance(result, dict)
    for name in ("film", "captions"):
        artifact: Any = result[name]
        path = f"/flow/artifacts/{artifact['rillflow_artifact']}"
        content = httpx.get(f"{by_hand.base_url}{path}").content
        (tmp_path / artifact["name"]).write_bytes(content)
    clone.bash(PLAY, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")


def test_extensions_do_what_they_say(clone: Clone, by_hand: OwnStack) -> None:
    with rillflow.Client(by_hand.base_url) as client:
        greeting = client.submit(client.add(OWN_PROTOCOL), {"text": "hello"})
        result = greeting.result(timeout_s=PATIENCE_S)
    assert (result["said"], result["locale"]) == ("HELLO", "en")
    assert clone.python(REHEARSAL) == "10"


def test_a_store_is_backed_up_while_it_serves_and_restored_when_it_is_stopped(
    clone: Clone, by_hand: OwnStack
) -> None:
    with rillflow.Client(by_hand.base_url) as client:
        kept = client.submit(client.add(WORKFLOW), {"name": "Ann"}).id
        written = [clone.bash(block) for block in BACKING_UP]
        lost = client.submit(client.add(WORKFLOW), {"name": "Eve"}).id
    assert "backed up " in written[0]
    assert "verified rillflow-backup.db: " in written[1]
    by_hand.stop()
    assert "the replaced store is now " in clone.bash(RESTORING)
    by_hand.start()
    with rillflow.Client(by_hand.base_url) as client:
        ids = {each.id for each in client.executions(business="examples")}
    assert kept in ids
    assert lost not in ids


def test_a_store_is_moved_while_it_serves_and_its_difference_when_it_is_stopped(
    clone: Clone, by_hand: OwnStack, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/moved.db"
    block = MOVING.replace("postgresql://rillflow@localhost/rillflow", url)
    serving, stopped = block.split("# Ctrl-C in `rillflow up`\n")
    difference, starting = stopped.rstrip().rsplit("\n", 1)
    assert starting == f"rillflow up --store {url}"
    with rillflow.Client(by_hand.base_url) as client:
        early = client.submit(client.add(WORKFLOW), {"name": "Ann"}).id
        clone.bash(serving, PATH=WITH_PROGRAMS)
        late = client.submit(client.add(WORKFLOW), {"name": "Eve"}).id
    by_hand.stop()
    clone.bash(difference, PATH=WITH_PROGRAMS)
    by_hand.start()
    with sqlite3.connect(tmp_path / "moved.db") as moved:
        ids = {row[0] for row in moved.execute("SELECT execution_id FROM executions")}
    assert {early, late} <= ids


def test_a_stack_is_examined_and_watched(clone: Clone, by_hand: OwnStack) -> None:
    here: Any = {"PATH": WITH_PROGRAMS, "RILLFLOW_URL": by_hand.base_url}
    assert "store" in clone.bash(f"{EXAMINING.strip()} || true", **here)
    assert clone.bash(WATCHING.replace(" --watch", ""), **here).strip()


def test_the_files_for_gateways_are_settings() -> None:
    settings = Settings(**tomllib.loads(GATEWAY_TLS))
    [host] = settings.gateway_tls
    assert host == "functions.internal:8443"


def test_a_postgresql_database_is_dumped_and_restored(server: PostgresServer) -> None:
    url = server.new_database()
    block = WITH_POSTGRES.replace("postgresql://rillflow@localhost/rillflow", f"'{url}'")
    dump, restore = block.splitlines()
    asyncio.run(upgrade_schema(url))
    with tempfile.TemporaryDirectory() as name:
        programs = {"PATH": f"{server.binaries}:{os.environ['PATH']}"}
        _bash(dump, Path(name), programs)
        asyncio.run(run_sql(url, "DROP TABLE definitions"))
        _bash(restore, Path(name), programs)
    assert asyncio.run(run_sql(url, "SELECT count(*) FROM definitions")) == [(0,)]


@pytest.mark.long
def test_a_cluster_is_brought_up_and_serves(by_hand: OwnStack) -> None:
    """Both ways onto a Ray that runs, one after the other; the machines are Ray's affair."""
    by_hand.stop()
    *before, launch, check, deploy = (
        line.partition("#")[0].strip() for line in CLUSTER.splitlines()
    )
    assert before == ["ray get-auth-token --generate", "rillflow cluster certificates"]
    assert launch == "ray up cluster.yaml"
    validate_config(prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))))
    port = str(free_port())
    with tempfile.TemporaryDirectory(prefix="rr") as name:
        folder = Path(name)
        (folder / "serve").mkdir()
        config = (ROOT / "serve" / "config.yaml").read_text(encoding="utf-8")
        (folder / "serve" / "config.yaml").write_text(config.replace("8080", port))
        head = RayHead(folder, RILLFLOW_DATA_DIR=str(folder / "data"), HOME=name)
        head.set_by(CERTIFYING)
        try:
            head.start()
            # Here Serve's own port is another one than 8000, which may be taken.
            head.run(f"serve start --http-port {port}")
            head.run_until_ready(SERVE_RUN.replace("8000", port), int(port))
            checked = head.run(f"unset RAY_USE_TLS\n{check}", folder)
            assert "nothing keeps this deployment" in checked
            assert "RAY_USE_TLS" not in checked, "it finds the certificate, and Ray encrypts"
            head.run(deploy, folder)
            head.wait_until_ready(int(port))
            api = f"export RILLFLOW_URL=http://127.0.0.1:{port}\n"
            for block in (DEPLOYING, UPGRADING):
                assert "everything runs as wanted" in head.run(api + block, folder)
            assert "Serve ends" in head.run(STOPPING, folder)
        finally:
            head.kill()


@pytest.mark.long
def test_the_demo_of_a_cluster_kills_a_node_and_everything_ends() -> None:
    assert DEMO.strip() == "make demo-cluster"
    begun_s = time.monotonic()
    written = _ended([sys.executable, "-m", "tests.cluster.demo"], ROOT, {})
    assert int(re.findall(r"(\d+) of 300 have ended\n.*node is killed", written)[0]) < 250
    assert "300 of 300 have succeeded, 0 with a wrong result" in written
    assert time.monotonic() - begun_s < DEMO_S, written


def test_a_line_of_the_log_looks_as_it_is_shown() -> None:
    _day, _time, level, logger, event, *_ = LOGGED.split()
    facts = {name: json.loads(value) for name, value in FACT.findall(LOGGED)}
    assert facts["task"] == "pay"
    record = logging.makeLogRecord({"name": logger, "levelname": level, "msg": event, **facts})
    line = LineFormatter().format(record)
    assert line.split(maxsplit=2)[2] == LOGGED.split(maxsplit=2)[2]


def test_no_block_is_left_that_no_test_runs() -> None:
    assert not LEFT


def test_a_command_in_a_sentence_is_one_of_a_block() -> None:
    shown = "\n".join(block.text for text in _texts().values() for block in blocks_of(text))
    found = [command for text in _texts().values() for command in COMMAND.findall(text)]
    named = {" ".join(command.split()) for command in found}
    assert not {command for command in named if command not in shown}


def _bash(text: str, folder: Path, environment: dict[str, str]) -> str:
    return _ended([BASH, "-euo", "pipefail", "-c", text], folder, environment)


def _ended(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
