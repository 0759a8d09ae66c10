"""Writes the table of routes into ``docs/http.md``: ``python -m tests.routes_page``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from serve.route_table import BODIES, ROUTES, Access, Body, Route, methods

PAGE: Final = Path(__file__).parents[1] / "docs" / "http.md"
BEGIN: Final = "<!-- routes: written from serve/route_table.py by tests/routes_page.py -->\n"
END: Final = "<!-- end of routes -->\n"
MARKS: Final = {
    "hot": "hot",
    "health": "health",
    "any_host": "any `Host`",
    "linked": "linked",
    "own_pages": "own pages",
    "changed_by_get": "no HEAD",
}


def page(text: str) -> str:
    """Return a page whose tables between the markers are as they should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the page has no place for the table"
    assert end, "the table has no end"
    return f"{before}{BEGIN}\n{''.join(_tables())}\n{END}{after}"


def _tables() -> Iterator[str]:
    yield "| path | methods | who may call | role | concerns | body | besides |\n"
    yield "|---|---|---|---|---|---|---|\n"
    yield from map(_route, ROUTES)
    yield "\n| body | bytes at most | larger is answered | holds |\n|---|---|---|---|\n"
    yield from map(_body, BODIES)


def _route(route: Route) -> str:
    marks = ", ".join(mark for name, mark in MARKS.items() if getattr(route, name))
    is_open = route.access is not Access.KEY
    needs = ("", "") if is_open else (route.needs.role.word, route.needs.reach.value)
    who = (f"`{route.path}`", ", ".join(methods(route)), route.access.value)
    cells = (*who, *needs, route.body.name, marks)
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |")


def _body(body: Body) -> str:
    if body.setting:
        own = f", or `{body.setting}_by_business`" if body.business_in else ""
        most = f"`{body.setting}`{own}"
    else:
        most = f"{body.largest_bytes:,}" if body.largest_bytes else "not read"
    answered = str(body.too_large_status) if most != "not read" else ""
    return f"| {body.name} | {most} | {answered} | {body.meaning} |\n".replace("|  |", "| |")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
