"""Writes the table of metrics into ``docs/telemetry.md``: ``python -m tests.metrics_page``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rillflow.telemetry.metrics import METRICS

PAGE: Final = Path(__file__).parents[1] / "docs" / "telemetry.md"
BEGIN: Final = (
    "<!-- metrics: written from rillflow/telemetry/metrics.py by tests/metrics_page.py -->\n"
)
END: Final = "<!-- end of metrics -->\n"


def page(text: str) -> str:
    """Return a page whose table between the markers is as it should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the page has no place for the table"
    assert end, "the table has no end"
    return f"{before}{BEGIN}\n{''.join(_table())}\n{END}{after}"


def _table() -> Iterator[str]:
    yield "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
    for each in METRICS:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        yield f"| `{each.name}` | {each.kind.value} | {labels} | {each.meaning} |\n".replace(
            "|  |", "| |"
        )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
