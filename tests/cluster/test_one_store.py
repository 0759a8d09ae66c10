"""Of two deployments on one store one runs, and the other is told; the store may change hands."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from socket import gethostname
from typing import Any, Final

import pytest

from serve.listening import free_port
from tests.cluster.processes import OwnStack
from tests.cluster.ray_nodes import RayNodes
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]

DRIVER: Final = Path(__file__).with_name("deploying_driver.py")
ACTORS: Final = '"execution_actors":2'
SUBMITTED: Final = 6


class Two:
    """Two Ray clusters with one store; Rillflow is deployed on the first."""

    def __init__(self, folder: Path, store: str) -> None:
        self._started: list[RayNodes] = []
        try:
            self.first, self.second = (
                self._start(folder / name, store) for name in ("first", "second")
            )
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both."""
        for each in self._started:
            each.stop()

    def _start(self, folder: Path, store: str) -> RayNodes:
        folder.mkdir()
        self._started.append(RayNodes(folder, store, others=0, driver=DRIVER))
        return self._started[-1]


@pytest.fixture(name="clusters", scope="module")
def _clusters(server: PostgresServer) -> Iterator[Two]:
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="rfo-", dir="/tmp") as folder:
        clusters = Two(Path(folder), server.new_database())
        try:
            assert clusters.first.ask(f"deploy {{{ACTORS}}}") is None
            clusters.first.ask("add")
            yield clusters
        finally:
            clusters.stop()


def _as_before(nodes: RayNodes, before: Any) -> None:
    assert nodes.ask("one") == "SUCCEED"
    assert nodes.ask("actors") == before
    report = nodes.ask("settled")
    assert (report["restarts"], report["fencings"]) == ({}, {})


def test_another_cluster_is_refused_and_the_one_that_runs_notices_nothing(clusters: Two) -> None:
    clusters.first.ask("settled")
    before = clusters.first.ask("actors")
    refused = clusters.second.ask(f"deploy {{{ACTORS}}}")
    assert re.fullmatch(
        r"the store is held by the Ray cluster at \S+:\d+ on \S+, namespace rillflow,"
        r" since 20\S+ \S+ UTC\. Two deployments cannot run on one store: end that one, or have it"
        r" end its actors and take over with RILLFLOW_TAKE_OVER=[0-9a-f]{8}",
        refused,
    )
    assert clusters.second.ask("actors") == {}
    _as_before(clusters.first, before)


def test_another_namespace_of_the_same_cluster_is_refused(clusters: Two) -> None:
    before = clusters.first.ask("actors")
    refused = clusters.first.ask(f'deploy {{{ACTORS},"namespace":"other"}}')
    assert "namespace rillflow, since" in refused
    _as_before(clusters.first, before)


def test_a_takeover_hands_over_what_runs_and_makes_no_call_twice(clusters: Two) -> None:
    ids = clusters.first.ask(f"submit {SUBMITTED}")
    refused = clusters.second.ask(f"deploy {{{ACTORS}}}")
    lease = refused.rpartition("=")[2]
    assert clusters.second.ask(f'deploy {{{ACTORS},"take_over":"{lease}"}}') is None
    assert clusters.first.ask("actors") == {}
    assert clusters.first.ask("reasons")[0] == "another deployment holds the store"
    assert set(clusters.second.ask(f"ended {' '.join(ids)}").values()) == {"SUCCEED"}
    for calls in clusters.first.ask(f"calls {' '.join(ids)}").values():
        assert [task for task, _ in calls] == ["a", "b", "c"]
    assert clusters.second.ask("one") == "SUCCEED"
    again = clusters.first.ask(f'deploy {{{ACTORS},"take_over":"{lease}"}}')
    assert "the store is held by" in again, "a lease is taken over once"
    report = clusters.second.ask("settled")
    assert (report["restarts"], report["fencings"]) == ({}, {})


def test_the_store_of_a_cluster_that_has_died_is_free_after_some_seconds(clusters: Two) -> None:
    clusters.second.other.kill()
    assert clusters.first.ask(f"deploy {{{ACTORS}}}") is None
    clusters.first.ask("settled")
    assert clusters.first.ask("one") == "SUCCEED"


def test_a_stack_on_this_machine_ends_when_another_takes_its_store_over(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/shared.db"
    first, second = (
        OwnStack(tmp_path / name, free_port(), RILLFLOW_STORE=store) for name in ("first", "second")
    )
    try:
        first.start()
        second.begin()
        assert second.wait() == 1
        refused = second.log.read_text(encoding="utf-8")
        assert f"held by rillflow up on {gethostname()}, data folder {tmp_path}/first" in refused
        assert first.runs
        lease = refused.rpartition("RILLFLOW_TAKE_OVER=")[2].strip()
        second = OwnStack(
            tmp_path / "second", free_port(), "--take-over", lease, RILLFLOW_STORE=store
        )
        second.start()
        assert first.wait() == 1
        said = first.log.read_text(encoding="utf-8")
        assert f"data folder {tmp_path}/second takes the store over" in said
    finally:
        second.stop()
        first.stop()
