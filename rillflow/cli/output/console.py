"""Consoles for tables, styles and live displays: text in them holds no control characters.

Used by `cli/commands` and `cli/output`.
"""

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from rillflow.cli.visible import visible


class VisibleConsole(Console):
    """A console that escapes control characters of texts; those of styles are its own."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, and escape what is text in the result."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def console_of(*, err: bool = False) -> VisibleConsole:
    """Return a console for standard output, or for standard error."""
    file = sys.stderr if err else sys.stdout
    return VisibleConsole(file=file, highlight=False, markup=False)
