"""Reports which conformance cases test runs have shown (``make test``, ``make cases``).

A test says what it shows by ``@pytest.mark.case("FN-01", "FN-02")``, by the same mark
on a parameter set, or by a parameter id that is, or starts with, a row id. With
``--case-outcomes=FILE`` a run leaves there which rows it has shown. Tests may run in several
processes (pytest-xdist), whose reports carry the rows to the one that writes the file, and in
several runs at once, each with a file of its own.

``python -m tests.case_table FILE...`` reads what runs have left, and fails when a row has no test.
With ``--report=FILE`` it prints the table of every row of ``tests/cases.toml``: passed, failed, out
of scope (with the reason) or missing; FILE gets the same table. A row with several tests has passed
when all that ran have passed.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest

CASES: Final = Path(__file__).with_name("cases.toml")
_ROW_ID: Final = re.compile(r"(?:E2E|[A-Z]{2,4})-\d{2}(?![0-9])")
_PROPERTY: Final = "case"
_ORDER: Final = ("failed", "missing", "passed", "out of scope")


class Row(NamedTuple):
    """One row of the report; ``note`` is its title, or why it is out of scope."""

    id: str
    outcome: str
    note: str


class CaseOutcomes:
    """Collects the outcome of every test that names a row."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known = load_cases().keys()
        self._failed: set[str] = set()
        self._passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Have the reports of each collected test say which rows it shows."""
        for item in items:
            named = (row for row in _rows_in_parameters(item) if row in self._known)
            item.user_properties.extend((_PROPERTY, row) for row in (*_marked_rows(item), *named))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Fail a test that is marked with a row there is not."""
        if unknown := [row for row in _marked_rows(item) if row not in self._known]:
            pytest.fail(f"{item.nodeid} names unknown cases: {unknown}", pytrace=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a row as passed when its test's call passed, as failed on any failure."""
        rows = [str(row) for name, row in report.user_properties if name == _PROPERTY]
        if report.failed:
            self._failed.update(rows)
        elif report.when == "call" and report.passed:
            self._passed.update(rows)

    def pytest_sessionfinish(self) -> None:
        """Leave the outcomes."""
        if self._file is not None:
            found = {"failed": sorted(self._failed), "passed": sorted(self._passed)}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(found), encoding="utf-8")


def rows_of(passed: Collection[str], failed: Collection[str]) -> list[Row]:
    """Tell the outcome of every row, in the order of ``cases.toml``."""
    reasons = out_of_scope()

    def outcome(row: str) -> str:
        if row in failed:
            return "failed"
        if row in passed:
            return "passed"
        return "out of scope" if row in reasons else "missing"

    return [Row(row, outcome(row), reasons.get(row, title)) for row, title in load_cases().items()]


def load_cases() -> dict[str, str]:
    """Read the title of every row, in the order of the file."""
    tables: dict[str, dict[str, str]] = tomllib.loads(CASES.read_text(encoding="utf-8"))["cases"]
    return {row: title for table in tables.values() for row, title in table.items()}


def out_of_scope() -> dict[str, str]:
    """Read the rows that are left out on purpose, with the reason."""
    reasons: dict[str, str] = tomllib.loads(CASES.read_text(encoding="utf-8"))["out_of_scope"]
    return reasons


def render(rows: list[Row]) -> str:
    """Lay the rows out as a table with the counts below it."""
    lines = [f"{row.id:<8} {row.outcome:<13} {row.note}" for row in rows]
    counts = (f"{sum(row.outcome == name for row in rows)} {name}" for name in _ORDER)
    return "\n".join([*lines, "", f"{len(rows)} cases: {', '.join(counts)}"])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--case-outcomes``."""
    parser.addoption(
        "--case-outcomes",
        metavar="FILE",
        type=Path,
        help="leave in FILE which conformance cases the tests of this run have shown",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start collecting; the marks are checked in every run."""
    is_worker = hasattr(config, "workerinput")
    outcomes = None if is_worker else config.getoption("case_outcomes")
    config.pluginmanager.register(CaseOutcomes(outcomes), "case-outcomes")


def _marked_rows(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("case"):
        yield from mark.args


def _rows_in_parameters(item: pytest.Item) -> Iterator[str]:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and (match := _ROW_ID.match(callspec.id)):
        yield match.group()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what runs have shown together; return 1 when a row within the scope has no test."""
    parser = argparse.ArgumentParser(prog="python -m tests.case_table")
    parser.add_argument("--report", metavar="FILE", type=Path, help="write the whole table there")
    parser.add_argument("outcomes", metavar="OUTCOMES", type=Path, nargs="+")
    given = parser.parse_args(arguments)
    left = [json.loads(file.read_text(encoding="utf-8")) for file in given.outcomes]
    passed, failed = ({row for each in left for row in each[kind]} for kind in ("passed", "failed"))
    rows = rows_of(passed, failed)
    if given.report:
        text = render(rows) + "\n"
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(text, encoding="utf-8")
        sys.stdout.write(text)
    missing = [row.id for row in rows if row.outcome == "missing"]
    if missing:
        sys.stderr.write(f"no test shows these cases: {', '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
