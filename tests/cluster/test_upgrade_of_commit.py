"""A deployment of an earlier commit rolls to this code and back, on one node and on two.

`tests/cluster/other_release.py` has the commit.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api import Functions
from tests.cluster.other_release import release_of_commit, shipped
from tests.cluster.processes import ROOT
from tests.cluster.rolling import (
    COUNTS,
    ON_TWO_NODES,
    check_the_way_there_and_back,
    nodes,
    one_node,
    two_nodes,
)
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.fixture(name="releases", scope="module")
def _releases() -> Iterator[tuple[str, str]]:
    """Return this code and that of the earlier commit."""
    with tempfile.TemporaryDirectory(prefix="ru", dir="/tmp") as name:
        folder = Path(name)
        earlier = release_of_commit(folder / "earlier")
        yield shipped(ROOT, folder / "ours.zip"), shipped(earlier, folder / "earlier.zip")


def test_nothing_is_lost_wrong_or_doubled_on_the_way_there_and_back(
    functions: Functions, releases: tuple[str, str]
) -> None:
    with one_node(releases[1]) as cluster:
        check_the_way_there_and_back(cluster, functions, releases, COUNTS)


def test_nothing_is_lost_wrong_or_doubled_on_two_nodes_either(
    functions: Functions, releases: tuple[str, str], server: PostgresServer
) -> None:
    with two_nodes(releases[1], server.new_database()) as deployed:
        assert len(nodes(deployed.cluster.cluster())) == 2
        check_the_way_there_and_back(deployed.cluster, functions, releases, ON_TWO_NODES)


def test_a_commit_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="needs the whole history"):
        release_of_commit(tmp_path, "0" * 40)
