"""Task templates, as a store keeps them: entries of a palette that users made (spec 7.2).

Used by `ports/storage/store.py`, `serve`, `stores` and `transfer/row_checks.py`.
"""

from typing import Final, Protocol

import msgspec

MOST_NAME_CHARACTERS: Final = 64
MOST_TEMPLATE_BYTES: Final = 65_535
"""Limit of all texts of a template together; Rill Flow's tables have it for each."""
TEMPLATE_TYPES: Final = range(3)
TEMPLATE_CATEGORIES: Final = (
    *("choice", "foreach", "function", "pass"),
    *("return", "suspense", "switch"),
)
TEMPLATE_TEXTS: Final = ("name", "category", "icon", "task_yaml", "schema", "output")


class TaskTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A template with its id.

    ``type`` is 0 (function), 1 (plugin) or 2 (logic), ``enable`` 0 or 1. ``schema`` and ``output``
    are the texts of JSON schemas.
    """

    id: int
    name: str
    type: int
    category: str
    icon: str = ""
    task_yaml: str = ""
    schema: str = "{}"
    output: str = "{}"
    enable: int = 1


class TemplateChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be changed in a template; None leaves a field as it is."""

    name: str | None = None
    type: int | None = None
    category: str | None = None
    icon: str | None = None
    task_yaml: str | None = None
    schema: str | None = None
    output: str | None = None
    enable: int | None = None


class TemplateFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which templates to list; None selects any, ``name`` is part of the name."""

    id: int | None = None
    name: str | None = None
    category: str | None = None
    type: int | None = None
    enable: int | None = None


class Templates(Protocol):
    """The task templates of a store; names are unique, and none is ever removed."""

    async def create_template(self, template: TaskTemplate, *, at_ms: int) -> int | None:
        """Store a template under a new id, whatever its own ``id`` says.

        Returns:
            The id; None if the name is taken.
        """
        ...

    async def change_template(
        self, template_id: int, change: TemplateChange, *, at_ms: int
    ) -> bool | None:
        """Change some fields of a template, all or none.

        Returns:
            Whether there is such a template; None if the new name is taken.
        """
        ...

    async def list_templates(
        self, wanted: TemplateFilter, *, limit: int, offset: int = 0
    ) -> list[TaskTemplate]:
        """List templates by id."""
        ...

    async def count_templates(self) -> int:
        """Count all templates."""
        ...
