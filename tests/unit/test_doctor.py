"""`rillflow doctor` finds what keeps a stack from working, and says how to mend it.

It changes nothing, asks nobody but whom the settings name, and shows no secret.
"""

import asyncio
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from rillflow.cli.doctor import configuration, examination, installation, machine, network, storage
from rillflow.cli.doctor.finding import Finding
from rillflow.private_apis.report import modules
from rillflow.settings import Settings
from rillflow.stores.sqlite import schema as sqlite_schema
from rillflow.stores.sqlite.foreign_file import short_check
from rillflow.stores.sqlite.store import SqliteStore
from tests.contract.later_schemas import NEXT, upgrade_to
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer
from tests.unit.commands import run, stand_in

SECRET = "xyzzy-plugh"
MANY_ROWS = """
WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
INSERT INTO known_versions SELECT 'business', 'feature', n, 0 FROM numbers
"""
ALIVE = {"status": "ok"}
READY = {"status": "ready", "ready": True, "reasons": []}


def settings_of(**given: Any) -> Settings:
    return Settings(**{"port": closed_port(), **given})


def wrong(found: Iterable[Finding]) -> list[Finding]:
    return [each for each in found if each.state != "ok"]


def only(found: Iterable[Finding]) -> Finding:
    [one] = wrong(found)
    return one


def of_data(found: Iterable[Finding]) -> Finding:
    """What is wrong with the data folder; the machine of the tests may lack room elsewhere."""
    return only(each for each in found if "data folder" in each.message)


def facts_of(*options: str) -> tuple[int, Mapping[str, Any]]:
    code, output, _ = run("doctor", "--format", "json", *options)
    return code, json.loads(output)


def states(facts: Mapping[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in facts["findings"]:
        found.setdefault(each["area"], set()).add(each["state"])
    return found


@pytest.fixture(name="apart", autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder than the repository, and a port on which nothing listens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RILLFLOW_PORT", str(closed_port()))


def test_every_part_is_examined_and_nothing_is_left_behind(tmp_path: Path) -> None:
    code, facts = facts_of()
    found = states(facts)
    assert set(found) >= {
        *("versions", "settings", "secrets", "folders", "open files", "memory", "port"),
        *("callbacks", "gateway hosts", "store", "Ray internals"),
    }
    assert code == (1 if facts["errors"] else 0)
    assert found["store"] == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_a_report_for_programs_has_a_line_for_each_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_HOST", "0.0.0.0")
    code, output, _ = run("doctor")
    lines = output.splitlines()
    assert code == 1
    assert any(
        line.startswith("error    port") and "-> set RILLFLOW_API_KEY" in line for line in lines
    )
    assert "errors" in lines[-1]


def test_a_wrong_setting_is_an_error_and_the_rest_is_not_guessed() -> None:
    found = list(examination.examine({"port": 99_999}, None))
    assert [each.area for each in wrong(found)] == ["settings"]
    assert "port" in found[-1].message
    assert found[-1].remedy


def test_misspelt_and_idle_settings_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_PROT", "1")
    found = wrong(configuration.configuration(settings_of(switches={"ENABLE_FLOW_STASH": True})))
    assert [each.state for each in found] == ["warning", "warning"]
    assert "RILLFLOW_PORT" in found[0].message
    assert "ENABLE_FLOW_STASH" in found[1].message


def test_secrets_that_may_go_anywhere_are_named_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    found = wrong(configuration.secrets(settings_of(secrets_dir=folder)))
    assert [each.state for each in found] == ["warning", "error"]
    assert "TOKEN" in found[0].message
    assert "secret_hosts" in found[0].remedy
    assert found[1].remedy == f"chmod 700 {folder}"
    _, output, _ = run("doctor")
    assert "TOKEN" in output
    assert SECRET not in output


def test_a_bounded_secret_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)
    [one] = configuration.secrets(settings_of(secret_hosts={"TOKEN": "api.example.com"}))
    assert one.state == "ok"


def test_a_data_folder_that_others_can_change_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    found = of_data(machine.folders(settings_of(data_dir=folder)))
    assert found.state == "error"
    assert "everybody may write" in found.message


def test_a_data_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    found = of_data(machine.folders(settings_of(data_dir=tmp_path / "file" / "data")))
    assert found.state == "error"
    assert "cannot be made" in found.message


def test_a_network_file_system_is_recognized(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nhost:/a /mnt/my\\040data nfs4 rw 0 0\n", "utf-8")
    assert machine.file_system_of(Path("/mnt/my data/rillflow"), mounts) == "nfs4"
    assert machine.file_system_of(Path("/mnt/my database"), mounts) == "ext4"
    assert machine.file_system_of(Path("/"), tmp_path / "none") == ""


def test_free_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 9 kB\nMemAvailable:   1 kB\n", encoding="ascii")
    assert machine.free_memory_bytes(file) == 1024


def test_a_port_of_another_program_is_an_error() -> None:
    with stand_in(healthz=(404, {})) as (url, _):
        port = int(url.rpartition(":")[2])
        found = wrong(examination.examine({"port": port}, None))
    [one] = [each for each in found if each.area == "port"]
    assert one.state == "error"
    assert f"port {port}" in one.message
    assert "no server of Rillflow" in one.message


def test_a_running_server_is_asked_instead_of_the_machine() -> None:
    with stand_in(healthz=ALIVE, readyz=READY) as (url, _):
        port = int(url.rpartition(":")[2])
        found = list(examination.examine({"port": port}, None))
    areas = {each.area for each in found}
    assert "server" in areas
    assert areas.isdisjoint({"port", "memory"})
    assert [each for each in wrong(found) if each.area in {"server", "callbacks", "clock"}] == []


def test_a_server_that_is_not_ready_tells_its_reasons() -> None:
    reasons = [{"code": "dispatcher_missing", "message": "the dispatcher 0 does not answer"}]
    with stand_in(readyz=(503, {"ready": False, "reasons": reasons})) as (url, _):
        found = only(network.server(url, network.ask(f"{url}/readyz", {})))
    assert found.state == "error"
    assert "the dispatcher 0 does not answer" in found.message


def test_warnings_of_a_server_are_warnings() -> None:
    warnings = [{"code": "callbacks_unreachable", "message": "nobody answers"}]
    with stand_in(readyz={**READY, "warnings": warnings}) as (url, _):
        found = only(network.server(url, network.ask(f"{url}/readyz", {})))
    assert (found.state, "nobody answers" in found.message) == ("warning", True)


@pytest.mark.parametrize("body", [[], "text", {"reasons": [1, None]}, {"warnings": [[]]}])
def test_answers_of_other_programs_are_not_trusted(body: Any) -> None:
    with stand_in(readyz=body) as (url, _):
        assert only(network.server(url, network.ask(f"{url}/readyz", {}))).state == "error"


def test_a_server_that_is_asked_for_by_its_address_must_answer() -> None:
    url = "http://127.0.0.1:1"
    [found] = [each for each in examination.examine({}, url) if each.area == "server"]
    assert (found.state, found.message) == ("error", f"{url} does not answer: Connection refused")
    assert "RILLFLOW_URL" in found.remedy


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, {"detail": "Not Found"}, "answers 404, as another program than Rillflow would"),
        (503, "no server is available", "answers 503, and is not ready"),
        (503, {"ready": False}, "answers 503, and is not ready"),
    ],
)
def test_another_program_is_told_from_a_server_that_starts(
    status: int, body: Any, told: str
) -> None:
    with stand_in(readyz=(status, body)) as (url, _):
        found = only(network.server(url, network.ask(f"{url}/readyz", {})))
    assert (found.state, found.message) == ("error", f"{url} {told}")


def test_a_callback_address_of_another_program_is_an_error() -> None:
    with stand_in(healthz=(200, ["other"])) as (url, _):
        found = only(network.callbacks(settings_of(server_host=url), is_running=True))
    assert (found.state, "RILLFLOW_SERVER_HOST" in found.remedy) == ("error", True)


def test_a_callback_address_that_is_no_machine_is_an_error() -> None:
    settings = settings_of(server_host="http://0.0.0.0:8080")
    assert only(network.callbacks(settings, is_running=False)).state == "error"


def test_a_callback_address_that_answers_is_fine() -> None:
    with stand_in(healthz=ALIVE) as (url, _):
        [one] = network.callbacks(settings_of(server_host=url), is_running=True)
    assert one.state == "ok"


def test_hosts_that_settings_name_are_reached_once_each() -> None:
    gone = "127.0.0.1:1"
    with stand_in() as (url, requests):
        there = url.removeprefix("http://")
        settings = settings_of(
            rates_by_host={there: 5, gone: 5},
            egress_allow=("10.0.0.0/8", "*.example.com"),
            secret_hosts={"TOKEN": (there, "chatgpt")},
        )
        assert network.named_hosts(settings) == sorted([there, gone])
        found = list(network.gateway_hosts(settings))
        assert requests == []
    assert [each.state for each in found] == ["warning", "ok"]
    assert gone in found[0].message


@pytest.mark.parametrize(("ahead_s", "state"), [(0.4, "ok"), (-60.0, "warning"), (60.0, "warning")])
def test_a_clock_that_differs_by_many_seconds_is_warned_of(ahead_s: float, state: str) -> None:
    [one] = network.clock("the store", ahead_s)
    assert one.state == state


def test_a_store_of_a_newer_release_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rillflow.db"
    asyncio.run(_made(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {sqlite_schema.VERSION + 1}")
    found = only(storage.storage(settings_of(store=f"sqlite://{path}")))
    assert found.state == "error"
    assert "use the release that upgraded it" in found.remedy


def test_a_store_of_a_newer_release_that_lets_this_one_go_on_is_none(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'rillflow.db'}"
    asyncio.run(upgrade_to(url, NEXT))
    [found] = storage.storage(settings_of(store=url))
    assert (found.state, "lets this one go on" in found.message) == ("ok", True)


def test_a_store_of_an_older_release_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "rillflow.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        sqlite_schema.migrate(connection, sqlite_schema.MIGRATIONS[:-1])
    found = only(storage.storage(settings_of(store=f"sqlite://{path}")))
    assert (found.state, "rillflow db upgrade" in found.remedy) == ("warning", True)


def test_a_damaged_store_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rillflow.db"
    asyncio.run(_made(path))
    content = bytearray(path.read_bytes())
    page = 4096
    for at in range(page, len(content), page):
        content[at : at + 16] = b"\xff" * 16
    path.write_bytes(content)
    found = only(storage.storage(settings_of(store=f"sqlite://{path}")))
    assert (found.state, "rillflow db verify" in found.remedy) == ("error", True)


def test_a_long_check_is_given_up_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "rillflow.db"
    asyncio.run(_made(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(MANY_ROWS)
    found = short_check(path, patience_s=0.0)
    assert found.problem == ""
    assert found.looked == "no damage found within 0 s"
    assert short_check(path, patience_s=3_600.0).looked == "its pages are whole"


def test_a_store_that_does_not_answer_is_an_error_without_its_password() -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/rillflow"
    found = only(storage.storage(settings_of(store=url)))
    assert found.state == "error"
    assert SECRET not in str(found)


def test_postgresql_tells_its_clock_and_that_it_takes_writes() -> None:
    server = PostgresServer()
    try:
        url = server.new_database()
        found = list(storage.storage(settings_of(store=url)))
    finally:
        server.stop()
    assert wrong(found) == []
    assert found[-1].area == "clock"
    assert any("takes writes" in each.message for each in found)


def test_every_private_api_is_looked_at() -> None:
    found = list(installation.internals())
    assert wrong(found) == []
    assert len(modules()) <= int(found[0].message.split()[1])


def test_a_part_that_cannot_be_examined_does_not_end_the_report(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    found = list(examination.examine({"data_dir": loop}, None))
    assert any(each.state == "error" for each in found)
    assert found[-1].area == "Ray internals"


async def _made(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()


def heard(head: bytes, drip: bytes = b"") -> tuple[network.Answer, float]:
    """What a program answers that sends a head, and then a byte a second without an end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as one, suppress(OSError):
                one.recv(4_096)
                one.sendall(head)
                while drip and not ended.wait(0.2):
                    one.sendall(drip)

        thread = threading.Thread(target=answer)
        thread.start()
        begun_s = time.monotonic()
        found = network.ask(f"http://127.0.0.1:{server.getsockname()[1]}/readyz", {})
        took_s = time.monotonic() - begun_s
        ended.set()
        thread.join()
    return found, took_s


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_an_answer_that_never_ends_is_not_waited_for(head: bytes) -> None:
    found, took_s = heard(head, b"x")
    assert (found.status, found.problem) == (0, "its answer has not come whole within 5 s")
    assert took_s < 30


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"ok","ready":false,"reasons":5}',
        b'{"status":"ok","ready":false,"reasons":[{"message":"' + b"x\\n" * 20_000 + b'"}]}',
        b'{"status":1,"ready":true,"warnings":[{"message":{"a":1}},7],"reasons":{"a":1}}',
        b"[" * 100_000,
    ],
)
def test_whatever_a_server_answers_is_told_in_short(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer, _ = heard(head + body)
    found = list(network.server("http://here", answer))
    assert found
    assert all(len(each.message) < 600 and "\n" not in each.message for each in found)


@pytest.mark.parametrize("password", ["s3cr#et", "s3cr/et", "s3cr?et", "s3cr[et"])
def test_no_part_of_a_password_is_shown_that_is_not_encoded(password: str) -> None:
    found = [*storage.storage(settings_of(store=f"postgresql://u:{password}@127.0.0.1:1/db"))]
    assert "malformed" in only(found).message
    assert not any("s3cr" in f"{each.message}{each.remedy}" for each in found)
