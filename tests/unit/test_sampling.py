"""Of the cases of a test that is marked as sampled, each so-manyth is not marked as long."""

from typing import Final

import pytest

SUITE: Final = """
import pytest


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", range(7))
def test_many(case):
    pass


@pytest.mark.one_in(3)
def test_one():
    pass


@pytest.mark.parametrize("case", range(2))
def test_all(case):
    pass
"""
SAMPLE: Final = [
    *("test_many[0]", "test_many[3]", "test_many[6]"),
    *("test_one", "test_all[0]", "test_all[1]"),
]
REST: Final = ["test_many[1]", "test_many[2]", "test_many[4]", "test_many[5]"]


@pytest.mark.parametrize(("chosen", "names"), [("not long", SAMPLE), ("long", REST)])
def test_each_case_is_in_the_sample_or_is_long(
    pytester: pytest.Pytester, chosen: str, names: list[str]
) -> None:
    pytester.makeini(
        "[pytest]\nmarkers =\n  one_in(number)\n  long\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(SUITE)
    passed, _, _ = pytester.inline_run("-p", "tests.sampling", "-m", chosen).listoutcomes()
    assert [report.nodeid.partition("::")[2] for report in passed] == names
