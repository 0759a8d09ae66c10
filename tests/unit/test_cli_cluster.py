"""The command line shows what runs beside what is wanted, and why they differ."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.jsontypes import encode_json
from rillflow.ray_certificates import CERTIFICATE, variables
from rillflow.settings import STACK_NOTE
from tests.unit.commands import run, stand_in

CLUSTER: Final = "flow__cluster.json"
WANTED: Final = {
    "settings_version": 3,
    "settings_digest": "d",
    "code_version": "0.2/1",
    "partition_map": 2,
    "execution_actors": 1,
    "dispatchers": 1,
}


def actor(name: str, *, current: bool = True, **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "node": "0123456789abcdef",
        "pid": 7,
        "ready": True,
        "current": current,
        "settings_version": 3 if current else 2,
        "code_version": "0.2/1",
        "partitions": 0,
        "epoch": 0,
        "hot": 0,
        "calls": 4,
        **facts,
    }


def state(*actors: dict[str, Any], converged: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "converged": converged,
        "wanted": WANTED,
        "actors": list(actors),
        "silent": [],
        **more,
    }


def test_each_actor_has_a_line_with_what_it_runs_with() -> None:
    owner = actor("rillflow:execution:0", partitions=256, hot=5, stored=7, restarts=2, fencings=1)
    with stand_in(**{CLUSTER: state(actor("rillflow:dispatcher:0"), owner)}) as (url, _):
        code, printed, told = run("cluster", "status", "--url", url)
    assert (code, told) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == "wanted   settings 3, code 0.2/1, 1 execution actors, 1 dispatchers"
    assert lines[1].startswith("rillflow:dispatcher:0 ")
    assert lines[1].endswith(" node 01234567, settings 3, code 0.2/1, 4 calls")
    assert lines[2].endswith(
        "code 0.2/1, 256 partitions, 5 hot, 7 stored, 4 calls, 2 restarts, 1 fencings"
    )
    assert lines[3] == "everything runs as wanted"


def test_what_is_not_as_wanted_is_told_with_the_reason_and_by_the_exit_code() -> None:
    reasons = [{"code": "not_converged", "message": "rillflow:dispatcher:0 starts"}]
    shown = state(
        actor("rillflow:execution:0", current=False),
        converged=False,
        silent=["rillflow:dispatcher:0"],
        controller={
            "reasons": reasons,
            "causes": ["hook x could not be loaded"],
            "warnings": ["slow"],
        },
    )
    with stand_in(**{CLUSTER: shown}) as (url, _):
        code, printed, _ = run("cluster", "status", "--url", url)
    assert code == 1
    assert "settings 2 (not as wanted)" in printed
    assert "rillflow:dispatcher:0        does not answer" in printed
    assert printed.splitlines()[:3] == [
        "reason   rillflow:dispatcher:0 starts",
        "cause    hook x could not be loaded",
        "warning  slow",
    ]
    assert printed.splitlines()[-1] == "not as wanted"


def test_an_address_for_callbacks_that_does_not_answer_is_told_first_with_its_actors() -> None:
    url = "http://flows:8080"
    owners = [actor(f"rillflow:execution:{number}", unreachable_callbacks=url) for number in (0, 1)]
    shown = state(*owners, actor("rillflow:execution:2"))
    with stand_in(**{CLUSTER: shown}) as (server, _):
        code, printed, _ = run("cluster", "status", "--url", server)
    assert code == 0
    first, *others = printed.splitlines()
    told = f"warning  the address for callbacks {url} does not answer"
    assert first.startswith(f"{told} rillflow:execution:0, rillflow:execution:1, so results of")
    assert "RILLFLOW_SERVER_HOST" in first
    assert url not in "".join(others)


def test_all_of_it_may_be_had_as_json() -> None:
    shown = state(actor("rillflow:dispatcher:0"))
    with stand_in(**{CLUSTER: shown}) as (url, _):
        code, printed, _ = run("cluster", "status", "--json", "--url", url)
    assert code == 0
    assert json.loads(printed) == shown


def test_a_line_tells_where_an_actor_is_and_how_busy() -> None:
    busy = actor(
        "rillflow:execution:0", partitions=256, address="10.0.0.1 (one)", queue=3, append_ms=1.25
    )
    holders = {
        "b:f_c_1": {"actor": busy["name"], "node": busy["node"], "address": "10.0.0.1 (one)"}
    }
    shown = state(busy, unfinished_executions=12, holders=holders)
    with stand_in(**{CLUSTER: shown}) as (url, requests):
        code, printed, _ = run("cluster", "status", "--execution", "b:f_c_1", "--url", url)
    assert code == 0
    assert requests[0]["query"] == {"execution_ids": "b:f_c_1"}
    assert "node 01234567 at 10.0.0.1 (one), settings 3" in printed
    assert "4 calls, queue 3, append 1.2 ms" in printed
    assert "12 executions have not ended" in printed
    assert "b:f_c_1  held by rillflow:execution:0, node 01234567 at 10.0.0.1 (one)" in printed


def test_a_watch_and_json_exclude_each_other() -> None:
    code, _, told = run("cluster", "status", "--watch", "--json", "--url", "http://127.0.0.1:1")
    assert code == 2
    assert "--watch and --json exclude each other" in " ".join(told.split())


def test_certificates_of_all_machines_are_issued_by_the_authority_that_was_made_first(
    tmp_path: Path,
) -> None:
    authority, folder = tmp_path / ".ray" / "authority", tmp_path / ".ray" / "tls"
    lines = _certificates(tmp_path)
    assert lines[0].startswith(f"authority    {authority}: copy it to every machine")
    assert lines[2:] == [f"{name}={text}" for name, text in variables(folder).items()]
    kept, issued = (authority / "ca.pem").read_bytes(), (folder / CERTIFICATE).read_bytes()
    assert _certificates(tmp_path, "--name", "head.example") == lines[1:]
    assert (authority / "ca.pem").read_bytes() == kept == (folder / "ca.pem").read_bytes()
    assert (folder / CERTIFICATE).read_bytes() != issued


def _certificates(home: Path, *options: str) -> list[str]:
    """Run the command in a process, which looks for the machine's own addresses."""
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "rillflow.cli", "cluster", "certificates", *options],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout.splitlines()


def test_what_is_no_authority_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    given = ("--authority", str(tmp_path), "--folder", str(tmp_path / "tls"))
    code, _, told = run("cluster", "certificates", *given)
    assert code == 1
    assert "no certificate can be made" in told


def test_variables_for_ray_s_own_programs_are_those_that_the_stack_has_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path))
    code, _, told = run("cluster", "environment")
    assert code == 1
    assert "no `rillflow up` runs on the data folder" in told
    noted = {"RAY_ADDRESS": "LOCALHOST:7", "RAY_OTHER": "a b", "PATH": "/x", "RAY_A;touch b;C": "d"}
    note = {"pid": 1, "ray_environment": noted}
    (tmp_path / STACK_NOTE).write_bytes(encode_json(note))
    code, printed, _ = run("cluster", "environment")
    assert (code, printed) == (0, "export RAY_ADDRESS=LOCALHOST:7\nexport RAY_OTHER='a b'\n")
