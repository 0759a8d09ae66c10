"""The command line shows what runs beside what is wanted, and why they differ."""

import json
from typing import Any, Final

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
