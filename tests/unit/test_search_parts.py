"""A search on PostgreSQL is one statement of the same text, however many parts it has.

So it is planned as fast for a workspace of a hundred flows as for one of two, and its plan is kept.
"""

from collections.abc import Callable
from typing import Final

import pytest

from rillflow.ports.storage.execution_search import Place, Wanted
from rillflow.stores.postgres.tables.search_parts import (
    FEW_PARTS,
    Statement,
    StatusPart,
    newest_of,
    page_of,
    spans_of,
    window_of,
)
from rillflow.stores.sql.searching import parts_of

STATUSES: Final = ("failed", "running", "succeed")
PLACE: Final = Place(7, 3)
STATEMENTS: Final[tuple[Callable[[tuple[StatusPart, ...]], Statement], ...]] = (
    lambda parts: page_of(parts, PLACE, 50),
    lambda parts: window_of(parts, PLACE, 5_000),
    lambda parts: newest_of(parts, 50_000),
    lambda parts: spans_of(parts, [0, 10, 20]),
)


def of_flows(number: int, **wanted: object) -> tuple[StatusPart, ...]:
    """Return the parts of a workspace with so many flows."""
    found = Wanted(business="shop", from_ms=5, **wanted)  # type: ignore[arg-type]
    return parts_of(found, STATUSES, [f"flow{each}" for each in range(number)])


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("keys", [(), (("user", "bob"), ("city", "Bonn"))])
def test_more_flows_make_no_longer_statement(
    statement: Callable[[tuple[StatusPart, ...]], Statement], keys: tuple[tuple[str, str], ...]
) -> None:
    few, many = of_flows(FEW_PARTS, keys=keys), of_flows(100, keys=keys)
    text, values = statement(few)
    more_text, more_values = statement(many)
    assert text == more_text
    assert len(values) == len(more_values)
    places = [f"${number}" for number in range(1, len(values) + 1)]
    assert [each in text for each in places] == [True] * len(places)
    assert f"${len(values) + 1}" not in text


def test_each_part_is_a_row_of_the_values_in_which_parts_differ() -> None:
    _, values = newest_of(of_flows(2), 50)
    statuses, flows, same_statuses, *others = values
    assert statuses == list(STATUSES) * 2
    assert same_statuses == statuses
    assert flows == ["flow0"] * 3 + ["flow1"] * 3
    assert others == ["shop", 5]
