"""Commands deploy, roll to the next release and back while executions run, and stop everything.

The next release speaks the next protocol, and has a table and a column more in the store. That it
rolls there and back on two nodes, too, is shown from a commit (`test_upgrade_of_commit.py`).
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.language.versions import CURRENT
from rillflow.ports.deployment import PROTOCOL, protocol_of
from rillflow.stores import schema_status
from rillflow.stores.schema_status import MIGRATIONS, SchemaStatus
from serve.listening import free_port
from tests.api.definition_texts import SUSPENDED
from tests.cluster.api import Api, Functions
from tests.cluster.load import CALLERS, check_mixture_calls, mixture, under_load
from tests.cluster.other_release import make_release, shipped
from tests.cluster.processes import ROOT
from tests.cluster.rolling import (
    BEFORE,
    COUNTS,
    FILE,
    ON_TWO_NODES,
    RATE_PER_S,
    TwoNodes,
    check_the_way_there_and_back,
    code_versions,
    nodes,
    one_node,
    two_nodes,
    until,
    until_rolled,
)
from tests.cluster.serve_cluster import ServeCluster
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]

log = logging.getLogger(__name__)

VERSION: Final = len(MIGRATIONS)
LEFT: Final = """python -c "
import ray
ray.init(address='auto', log_to_driver=False, logging_level='ERROR')
for each in ray.util.list_named_actors(all_namespaces=True): print(each['name'])
" """


@pytest.fixture(name="folder", scope="module")
def _folder() -> Iterator[Path]:
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="ru", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(name="earlier", scope="module")
def _earlier(folder: Path) -> str:
    return shipped(make_release(folder / "earlier", PROTOCOL - 1), folder / "earlier.zip")


@pytest.fixture(name="next_one", scope="module")
def _next_one(folder: Path) -> str:
    return shipped(make_release(folder / "next", PROTOCOL, migrations=1), folder / "next.zip")


@pytest.fixture(name="ours", scope="module")
def _ours(folder: Path) -> str:
    return shipped(ROOT, folder / "ours.zip")


@pytest.fixture(name="cluster", scope="module")
def _cluster(earlier: str) -> Iterator[ServeCluster]:
    with one_node(earlier) as cluster:
        yield cluster


@pytest.fixture(name="store")
def _store(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture(name="deployed")
def _deployed(store: str, earlier: str) -> Iterator[TwoNodes]:
    with two_nodes(earlier, store) as deployed:
        yield deployed


def test_nothing_is_lost_wrong_or_doubled_on_the_way_there_and_back(
    cluster: ServeCluster, functions: Functions, earlier: str, next_one: str
) -> None:
    check_the_way_there_and_back(cluster, functions, (next_one, earlier), COUNTS)
    _check_schema(_file_of(cluster))


def _check_schema(url: str) -> None:
    """Check that the next release has upgraded the store, and that this one may write to it."""
    assert _schema(url) == SchemaStatus(VERSION + 1, VERSION, compatible_from=VERSION)


def _schema(url: str) -> SchemaStatus:
    return asyncio.run(schema_status(url))


def _file_of(cluster: ServeCluster) -> str:
    return f"sqlite://{cluster.folder / 'data' / 'rillflow.db'}"


def _pids(state: Any) -> set[int]:
    return {actor["pid"] for actor in state["actors"]}


def test_going_back_across_a_language_version_is_refused_until_its_executions_have_ended(
    cluster: ServeCluster, folder: Path, ours: str
) -> None:
    cluster.write(ours, **COUNTS)
    cluster.control(f"upgrade {FILE}")
    with Api(f"http://127.0.0.1:{cluster.port}") as api:
        before = api.submit(SUSPENDED)
        later = make_release(folder / "language", PROTOCOL, language=CURRENT + 1)
        cluster.write(shipped(later, folder / "language.zip"), **COUNTS)
        cluster.control(f"upgrade {FILE}")
        begun = api.submit(SUSPENDED)
        pids = _pids(cluster.cluster())
        cluster.write(ours, **COUNTS)
        refused = cluster.head.run(f"! rillflow cluster upgrade {FILE} 2>&1", cluster.folder)
        for told in (refused, _until_refused(cluster)):
            assert f"may have version {CURRENT + 1}, whose rules" in " ".join(told.split())
        assert _pids(cluster.cluster()) == pids
        assert api.trigger(begun, "wait", body={"go": True}).status == 200
        assert api.end(begun).status == "SUCCEED"
        assert "everything runs as wanted" in cluster.control(f"upgrade {FILE}")
        assert api.trigger(before, "wait", body={"go": True}).status == 200
        for each in (before, begun):
            assert api.end(each).status == "SUCCEED"


def _until_refused(cluster: ServeCluster) -> str:
    """Deploy by ``serve deploy`` alone; return what Serve says of the replica."""
    cluster.head.run(f"serve deploy {FILE}", cluster.folder)
    return cluster.until_told("knows language versions up to")


def test_a_release_that_is_not_the_next_one_is_refused_with_what_to_do(
    cluster: ServeCluster, folder: Path
) -> None:
    before, schema = cluster.cluster(), _schema(_file_of(cluster))
    [version] = code_versions(before)
    distant = make_release(folder / "distant", protocol_of(version) + 2, migrations=2)
    cluster.write(shipped(distant, folder / "distant.zip"), **COUNTS)
    cluster.head.run(f"serve deploy {FILE}", cluster.folder)
    told = cluster.until_told("speaks protocol")
    assert "deploy the releases between them one after the other" in " ".join(told.split())
    after = cluster.cluster()
    assert [actor["pid"] for actor in after["actors"]] == [
        actor["pid"] for actor in before["actors"]
    ]
    assert _schema(_file_of(cluster)) == schema


def test_a_stop_ends_everything_and_what_was_under_way_goes_on_at_the_next_deployment(
    cluster: ServeCluster, folder: Path, ours: str
) -> None:
    cluster.write(ours, **COUNTS)
    waiting = ""
    for options in ("", "--now"):
        cluster.control(f"deploy {FILE}")
        assert f"Serve runs and listens on 127.0.0.1:{cluster.port}" in _check_elsewhere(cluster)
        with Api(f"http://127.0.0.1:{cluster.port}") as api:
            if waiting:
                assert api.trigger(waiting, "wait", body={"go": True}).status == 200
                assert api.end(waiting).status == "SUCCEED"
            waiting = api.submit(SUSPENDED)
            api.submit(SUSPENDED, isolation="dedicated")
        begun = time.monotonic()
        told = cluster.control(f"stop {options}")
        log.warning("stop %s: %.1f s", options, time.monotonic() - begun)
        assert "Serve ends" in told
        assert cluster.head.run(LEFT, folder).split() == []
    assert "nothing of Rillflow runs" in cluster.head.run("rillflow cluster stop 2>&1 || true")


def _check_elsewhere(cluster: ServeCluster) -> str:
    """Return what the check says of the file with a port that Serve does not listen on."""
    text = (cluster.folder / FILE).read_text(encoding="utf-8")
    other = text.replace(f"port: {cluster.port}", f"port: {free_port()}")
    (cluster.folder / "other.yaml").write_text(other, encoding="utf-8")
    return cluster.head.run("! rillflow cluster check other.yaml", cluster.folder)


def test_a_node_that_dies_while_actors_are_replaced_costs_no_execution(
    deployed: TwoNodes, store: str, functions: Functions, next_one: str
) -> None:
    cluster, second = deployed
    before = cluster.cluster()
    assert len(nodes(before)) == 2
    pids = _pids(before)
    base_url = f"http://127.0.0.1:{cluster.port}"
    with under_load(base_url, mixture(functions.url), pause_s=CALLERS / RATE_PER_S) as load:
        load.wait_for(BEFORE)
        cluster.write(next_one, **ON_TWO_NODES)
        cluster.head.run(f"serve deploy {FILE}", cluster.folder)
        until(cluster, lambda state: not pids >= _pids(state))  # one is replaced
        second.kill()
        state = until_rolled(cluster, before)
        load.wait_for(len(load.acknowledged) + BEFORE)
    assert len(nodes(state)) == 1
    assert {protocol_of(each) for each in code_versions(state)} == {PROTOCOL}
    assert state["controller"]["reasons"] == []
    load.check_ends()
    load.check_refusals()
    for execution_id in load.acknowledged:
        check_mixture_calls(functions.calls(execution_id), kills=1)
    _check_schema(store)
