"""Whatever a release has written to the journal, this one reads and takes to mean the same."""

from importlib.metadata import version
from pathlib import Path

import pytest

from rillflow.core.plan import Plan
from rillflow.definition.canonical import version_of
from rillflow.runtime.definitions.catalogue import parse_stored
from rillflow.testing.replay import replay
from tests.contract.recorded_journals import FOLDER, outline_of, read_recorded

FILES = sorted(FOLDER.glob("*.jsonl.gz"))


def test_the_journals_of_this_release_are_recorded() -> None:
    assert FOLDER / f"{version('rillflow')}.jsonl.gz" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".jsonl.gz"))
def test_a_recorded_journal_gives_the_execution_that_it_was(file: Path) -> None:
    executions = list(read_recorded(file))
    assert len(executions) >= 100
    for recorded in executions:
        text, outline = recorded.definition, recorded.outline
        plan = Plan(parse_stored(text), version_of(text))
        assert outline_of(plan, replay(plan, recorded.records)) == outline
        later = recorded.records[recorded.snapshot_seq :]
        assert outline_of(plan, replay(plan, later, recorded.snapshot)) == outline
