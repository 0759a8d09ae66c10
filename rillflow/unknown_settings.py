"""Variables of the environment that look like settings, and are none.

Used by `cli` and `serve/app.py`.
"""

import re
from collections.abc import Iterable
from typing import Final

from pydantic import AliasChoices

from rillflow.gateways.plugins.entry_points import entry_points_of
from rillflow.settings import Settings
from rillflow.suggestions import closest
from rillflow.trusted_files.settings_file import PREFIX, VARIABLE

NO_SETTINGS: Final = frozenset(
    {
        *("RILLFLOW_URL", VARIABLE, "RILLFLOW_RUN_DIR", "RILLFLOW_FEW_FILES", "RILLFLOW_FUZZ"),
        "RILLFLOW_CORPUS",
    }
)
"""Variables with that prefix that the command line, a stack's processes and tests have."""
_EXTENSION_GROUPS: Final = ("rillflow.dispatchers", "rillflow.triggers")
"""The groups of entry points by which packages extend Rillflow, see docs/extending.md."""
_LIKE_PREFIX: Final = re.compile(r"RILL?_?FLOW_")


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Say of each variable of the environment that looks like a setting that it is none.

    They are not refused: a release that knows fewer settings must start where a newer one did.
    """
    fields = (name.upper() for name in Settings.model_fields)
    known = {*fields, *(name.removeprefix(PREFIX) for name in NO_SETTINGS)}
    found = []
    for name in sorted(set(environment) - _other_spellings()):
        prefix = _LIKE_PREFIX.match(name.upper())
        word = name.upper()[prefix.end() :] if prefix else ""
        if prefix is None or word.startswith("SECRET_") or (prefix[0] == PREFIX) == (word in known):
            continue  # With another prefix it may be Rill Flow's, unless the rest is a setting.
        if word not in known and word.startswith(_extensions()):
            continue
        near = closest(word, sorted(known))
        hint = f"did you mean {PREFIX}{near}?" if near else "the variable is ignored"
        found.append(f"there is no setting {name}; {hint}")
    return found


def _extensions() -> tuple[str, ...]:
    """Return the names of installed extensions, as their variables begin after the prefix.

    Python reads the metadata of every installed package: asked for where a name is unknown only.
    """
    return tuple(
        re.sub(r"\W", "_", entry.name.upper())
        for group in _EXTENSION_GROUPS
        for entry in entry_points_of(group)
    )


def _other_spellings() -> set[str]:
    """Return the variables by which Rill Flow has a setting, and which are read here too."""
    aliases = (field.validation_alias for field in Settings.model_fields.values())
    return {
        str(name) for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices
    }
