"""A store that is a file is for one machine, and a cluster of several is told what to do."""

import pytest

from rillflow.actors.lifecycle.launch import told_of
from rillflow.actors.ray_context import is_on_one_machine
from rillflow.settings import Settings


@pytest.mark.parametrize(
    ("store", "is_file"),
    [(None, True), ("sqlite:///flows.db", True), ("postgresql://host/flows", False)],
)
def test_sqlite_is_on_one_machine_and_postgresql_is_not(
    store: str | None, *, is_file: bool
) -> None:
    assert is_on_one_machine(Settings(store=store)) is is_file


def test_one_machine_is_told_nothing_and_two_what_to_set() -> None:
    assert told_of(1) == ""
    assert told_of(2) == (
        "the SQLite store lives on one machine, and this Ray cluster has 2: set"
        " RILLFLOW_STORE=postgresql://..."
    )
