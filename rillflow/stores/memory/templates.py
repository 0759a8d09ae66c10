"""Task templates of the memory store.

Used by `stores/memory/store.py`.
"""

import msgspec

from rillflow.ports.storage.templates import TaskTemplate, TemplateChange, TemplateFilter
from rillflow.stores.memory.journal import MemoryLifecycle
from rillflow.stores.sql.first_rows import ALIYUN_TEMPLATE


class MemoryTemplates(MemoryLifecycle):
    """Task templates; see the ``Templates`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._templates = {1: ALIYUN_TEMPLATE}

    async def create_template(self, template: TaskTemplate, *, at_ms: int) -> int | None:
        """Keep a template under a new id; None if the name is taken."""
        del at_ms
        self._check_open()
        if self._has_namesake(template.name, 0):
            return None
        number = len(self._templates) + 1
        self._templates[number] = msgspec.structs.replace(template, id=number)
        return number

    async def change_template(
        self, template_id: int, change: TemplateChange, *, at_ms: int
    ) -> bool | None:
        """Change a template; False if there is none, None if the new name is taken."""
        del at_ms
        self._check_open()
        if self._has_namesake(change.name, template_id):
            return None
        if template_id not in self._templates:
            return False
        given = msgspec.structs.asdict(change).items()
        fields = {name: value for name, value in given if value is not None}
        changed = msgspec.structs.replace(self._templates[template_id], **fields)
        self._templates[template_id] = changed
        return True

    async def list_templates(
        self, wanted: TemplateFilter, *, limit: int, offset: int = 0
    ) -> list[TaskTemplate]:
        """List templates by id."""
        self._check_open()
        found = [each for each in self._templates.values() if _is_wanted(each, wanted)]
        return found[offset : offset + limit]

    async def count_templates(self) -> int:
        """Count all templates."""
        self._check_open()
        return len(self._templates)

    def _has_namesake(self, name: str | None, template_id: int) -> bool:
        return any(
            each.name == name and each.id != template_id for each in self._templates.values()
        )


def _is_wanted(template: TaskTemplate, wanted: TemplateFilter) -> bool:
    given = msgspec.structs.asdict(wanted).items()
    return all(
        value is None
        or (value in template.name if name == "name" else value == getattr(template, name))
        for name, value in given
    )
