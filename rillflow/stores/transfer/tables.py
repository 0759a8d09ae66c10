"""The tables that are moved as they are, and what makes two of their rows the same.

Used by `stores/transfer` and `transfer`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

VERSIONS: Final = "versions"
TEMPLATES: Final = "task_templates"
TRIGGERS: Final = "triggers"
API_KEYS: Final = "api_keys"
DEFINITIONS: Final = "definitions"


class Table(NamedTuple):
    """One table.

    Attributes:
        columns: The columns that are moved, by name, with their types.
        key: How many of the first columns make a row unique.
        own: Columns that may differ in the other database, since rows change there by themselves.
        page: How many rows are moved at once.
    """

    columns: Mapping[str, type]
    key: int
    own: frozenset[str] = frozenset()
    page: int = 500

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.columns)

    def is_same(self, stored: tuple[object, ...], moved: tuple[object, ...]) -> bool:
        """Tell whether two rows of one key mean the same."""
        return all(
            mine == other or name in self.own
            for name, mine, other in zip(self.names, stored, moved, strict=True)
        )


def _texts(*names: str) -> dict[str, type]:
    return dict.fromkeys(names, str)


TABLES: Final[Mapping[str, Table]] = {
    DEFINITIONS: Table(_texts("definition_id", "text"), 1, page=20),
    "known_versions": Table(_texts("business", "feature", "version"), 3),
    VERSIONS: Table({**_texts("business", "feature", "alias", "version"), "created_at_ms": int}, 4),
    "names": Table(_texts("business", "feature", "alias"), 3),
    "rules": Table(_texts("kind", "business", "subject", "name", "rule"), 4, page=100),
    TEMPLATES: Table(
        {
            "id": int,
            "name": str,
            "type": int,
            **_texts("category", "icon", "task_yaml", "schema", "output"),
            **dict.fromkeys(("enable", "created_at_ms", "updated_at_ms"), int),
        },
        1,
        frozenset({"created_at_ms", "updated_at_ms"}),
        page=20,
    ),
    TRIGGERS: Table(
        {
            **_texts("id", "type", "descriptor_id", "owner", "spec"),
            **dict.fromkeys(("is_paused", "is_removed"), bool),
            **dict.fromkeys(("created_at_ms", "position_ms"), int),
            **_texts("progress", "context"),
            "changed_at_ms": int,
        },
        1,
        frozenset({"position_ms", "progress", "changed_at_ms"}),
        page=20,
    ),
    "deaths": Table({**_texts("execution_id", "life", "step"), "at_ms": int}, 2),
    API_KEYS: Table(_texts("name", "key"), 1),
}
"""In the order in which they are exported; texts first, to which the others refer."""
