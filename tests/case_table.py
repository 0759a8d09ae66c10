"""Reports which conformance cases a test run has shown (``make cases``).

A test says what it shows by ``@pytest.mark.case("FN-01", "FN-02")``, by the same mark
on a parameter set, or by a parameter id that is, or starts with, a row id. With
``--case-report=FILE`` the run ends with a table of every row of ``tests/cases.toml``:
passed, failed, out of scope (with the reason) or missing; FILE gets the same table.
A row with several tests has passed when all that ran have passed. With ``--every-case``,
as ``make test`` runs it, a run in which a row is missing has failed.

Tests may run in several processes (pytest-xdist), whose reports carry the rows to the one
that makes the table, and in several runs one after the other: with ``--case-outcomes=FILE`` a
run goes on from what the runs before it have left there.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
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


class CaseTable:
    """Collects the outcome of every test that names a row."""

    def __init__(self, file: Path | None, outcomes: Path | None, *, wants_all: bool) -> None:
        self._file = file
        self._outcomes = outcomes
        self._wants_all = wants_all
        self._known = load_cases().keys()
        earlier = json.loads(outcomes.read_text()) if outcomes and outcomes.exists() else {}
        self._failed = set(earlier.get("failed", ()))
        self._passed = set(earlier.get("passed", ()))

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

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run when every row was wanted and one is missing; leave the outcomes."""
        if self._outcomes is not None:
            found = {"failed": sorted(self._failed), "passed": sorted(self._passed)}
            self._outcomes.parent.mkdir(parents=True, exist_ok=True)
            self._outcomes.write_text(json.dumps(found))
        if self._missing() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what is missing, and the table where one was asked for; write it to the file."""
        if missing := self._missing():
            terminalreporter.write_line(f"no test shows these cases: {', '.join(missing)}")
        if self._file is None:
            return
        text = render(self.rows())
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(text + "\n", encoding="utf-8")
        terminalreporter.section("conformance cases")
        terminalreporter.write_line(text)

    def rows(self) -> list[Row]:
        """Every row in the order of ``cases.toml``, with its outcome so far."""
        reasons = out_of_scope()
        return [
            Row(row, self._outcome(row, reasons), reasons.get(row, title))
            for row, title in load_cases().items()
        ]

    def _missing(self) -> list[str]:
        if not self._wants_all:
            return []
        return [row.id for row in self.rows() if row.outcome == "missing"]

    def _outcome(self, row: str, reasons: Mapping[str, str]) -> str:
        if row in self._failed:
            return "failed"
        if row in self._passed:
            return "passed"
        return "out of scope" if row in reasons else "missing"


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
    """Add ``--case-report``, ``--case-outcomes`` and ``--every-case``."""
    parser.addoption(
        "--every-case",
        action="store_true",
        help="fail when a conformance case within the scope has no test in this run",
    )
    parser.addoption(
        "--case-report",
        metavar="FILE",
        type=Path,
        help="end with the table of conformance cases, and write it to FILE",
    )
    parser.addoption(
        "--case-outcomes",
        metavar="FILE",
        type=Path,
        help="count the outcomes of cases in FILE, if it is there, and leave all of them there",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start collecting; the marks are checked in every run, the table is printed on request."""
    is_worker = hasattr(config, "workerinput")
    wants_all = config.getoption("every_case") and not is_worker
    outcomes = None if is_worker else config.getoption("case_outcomes")
    table = CaseTable(config.getoption("case_report"), outcomes, wants_all=wants_all)
    config.pluginmanager.register(table, "case-table")


def _marked_rows(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("case"):
        yield from mark.args


def _rows_in_parameters(item: pytest.Item) -> Iterator[str]:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and (match := _ROW_ID.match(callspec.id)):
        yield match.group()
