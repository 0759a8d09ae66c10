"""Of many like cases of one rule, `make test` runs some, and `make test-long` runs the others.

A test whose cases take long together is marked with ``@pytest.mark.one_in(8)``: of its cases the
first one and each eighth one after it are as they are, and all others are marked as long.
"""

from collections import Counter

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is not in the sample as long, before ``-m`` looks at the marks."""
    seen: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("one_in")
        if mark is None:
            continue
        test = item.nodeid.partition("[")[0]
        if seen[test] % mark.args[0]:
            item.add_marker(pytest.mark.long)
        seen[test] += 1
