"""The table of cases has one outcome for every row: passed, failed, out of scope, missing."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests import case_table

SUITE: Final = """
import pytest


@pytest.mark.case("FN-01", "FN-02")
def test_shows_two_rows():
    pass


@pytest.mark.case("FN-02")
def test_shows_one_of_them_again_and_fails():
    assert False


@pytest.mark.parametrize("row", ["FN-05", "other"])
def test_shows_a_row_by_its_parameter(row):
    pass


@pytest.mark.parametrize("row", [pytest.param(1, marks=pytest.mark.case("FN-06"))])
def test_shows_a_row_by_a_marked_parameter(row):
    pass
"""


def test_a_row_has_passed_when_all_its_tests_have(pytester: pytest.Pytester) -> None:
    report = _run(pytester, SUITE)
    assert _outcomes(report, "FN-01", "FN-02", "FN-05", "FN-06") == [
        "passed",
        "failed",
        "passed",
        "passed",
    ]


def test_rows_without_a_test_are_missing_or_out_of_scope(pytester: pytest.Pytester) -> None:
    report = _run(pytester, SUITE)
    assert _outcomes(report, "FN-07", "ST-02") == ["missing", "out of scope"]
    total, left_out = len(case_table.load_cases()), len(case_table.out_of_scope())
    missing = total - left_out - 4
    counts = f"1 failed, {missing} missing, 3 passed, {left_out} out of scope"
    assert report.splitlines()[-1] == f"{total} cases: {counts}"


def test_a_mark_with_an_unknown_row_fails_its_test(pytester: pytest.Pytester) -> None:
    _prepare(pytester, '@__import__("pytest").mark.case("FN-99")\ndef test_it():\n    pass\n')
    result = pytester.runpytest("-p", "tests.case_table")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "names unknown cases: ['FN-99']" in result.stdout.str()


def test_every_row_left_out_is_a_row() -> None:
    assert case_table.out_of_scope().keys() <= case_table.load_cases().keys()


def _prepare(pytester: pytest.Pytester, suite: str) -> None:
    pytester.makeini(
        "[pytest]\nmarkers = case(*ids)\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(suite)


def _run(pytester: pytest.Pytester, suite: str) -> str:
    _prepare(pytester, suite)
    pytester.runpytest("-p", "tests.case_table", "--case-outcomes=out/outcomes.json")
    return _report(pytester, "out/outcomes.json")


def _report(pytester: pytest.Pytester, *outcomes: str) -> str:
    report = pytester.path / "out" / "report.txt"
    case_table.main([f"--report={report}", *(str(pytester.path / each) for each in outcomes)])
    return report.read_text(encoding="utf-8")


def _outcomes(report: str, *rows: str) -> list[str]:
    lines = {line.split()[0]: line for line in report.splitlines() if line.strip()}
    return [lines[row][9:22].strip() for row in rows]


@pytest.mark.parametrize(
    ("left_out", "code", "told"),
    [(0, 0, ""), (1, 1, "no test shows these cases: AP-01\n")],
    ids=["every row", "all but one"],
)
def test_runs_that_do_not_show_every_case_have_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: int, code: int, told: str
) -> None:
    rows = sorted(case_table.load_cases().keys() - case_table.out_of_scope().keys())
    outcomes = tmp_path / "outcomes.json"
    outcomes.write_text(json.dumps({"passed": rows[left_out:], "failed": []}), encoding="utf-8")
    assert case_table.main([str(outcomes)]) == code
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("workers", ["0", "2"], ids=["in one process", "spread over two"])
def test_outcomes_of_several_runs_count_together(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    pytester.makeini("[pytest]\nmarkers = case(*ids)\n")
    pytester.makepyfile(SUITE)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    spread = ("-p", "tests.case_table", "-p", "xdist.plugin", "-n", workers)
    for outcomes, chosen in (("one.json", "again or marked"), ("other.json", "two")):
        pytester.runpytest_subprocess(*spread, f"--case-outcomes={outcomes}", "-k", chosen)
    report = _report(pytester, "one.json", "other.json")
    wanted = ["passed", "failed", "missing", "passed"]
    assert _outcomes(report, "FN-01", "FN-02", "FN-05", "FN-06") == wanted
