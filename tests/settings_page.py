"""Writes ``docs/settings.md`` from the settings: ``python -m tests.settings_page``."""

import ast
import inspect
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from rillflow.setting_values import IDLE_SWITCHES, SWITCHES, FlowHealth, QuotaSetting
from rillflow.settings import ResourceCheck, Settings

PAGE: Final = Path(__file__).parents[1] / "docs" / "settings.md"
CITATION: Final = " (spec "

HEAD: Final = """\
# Settings

A setting comes from the first of these sources that has it: the options of `rillflow up`,
environment variables, `rillflow.toml` in the folder where the server starts, the defaults. Times
are in seconds and sizes in bytes unless a setting says otherwise. A list is written `a, b` in the
environment and as a list in the file. A map is JSON in the environment and a table in the file.

The file of the folder is read, also by other commands, only if no other user can change it, the
superuser excepted: it names code that runs and where secrets are sent. So it, its folder and the
file that a link leads to must belong to you or the superuser, and be closed to others' writing
(`chmod go-w`; a group that is yours alone may write). `RILLFLOW_SETTINGS_FILE=<path>` names another
file, which is taken as it is: for example one that a container mounts from a folder of another
user, where you trust that user.

The server does not start with an invalid setting, and prints one line that names the setting. The
same holds for a name in the file that is no setting; the line then suggests the nearest name. Such
a line never contains a key or a password. For an environment variable that looks like a setting
and is none, `rillflow up` prints a warning and ignores the variable. [security.md](security.md)
explains which settings protect a server.

`tests/settings_page.py` writes this page from `rillflow/settings.py`.

| in `rillflow.toml` | in the environment | default | meaning |
|---|---|---|---|
"""

IDLE: Final = """\
The other switches of Rill Flow are accepted and have no effect. The server warns of them when it
starts: {}.
"""

SECRETS: Final = """
## Secrets

`RILLFLOW_SECRET_<NAME>` is the value of the secret `${secret:NAME}` in definitions. It is an
environment variable only, never an entry of `rillflow.toml`. The command line reads `RILLFLOW_URL`
and `RILLFLOW_API_KEY`.
"""


def page() -> str:
    """Return the page as it should be."""
    return HEAD + "".join(_rows(Settings)) + "".join(_maps()) + _switches() + SECRETS


def _rows(model: type[BaseModel]) -> Iterator[str]:
    meanings = meanings_of(model)
    for name, field in model.model_fields.items():
        cells = (f"`{name}`", _variables(name, field), _default(field), meanings[name])
        yield f"| {' | '.join(cells)} |\n"


def _maps() -> Iterator[str]:
    """Describe the entries of maps that are more than one value."""
    for name, model in (
        ("resource_checks", ResourceCheck),
        ("flow_health", FlowHealth),
        ("workspace_quotas", QuotaSetting),
    ):
        yield f"\n## Entries of `{name}`\n\n{_paragraphs(model)}\n\n| key | default |\n|---|---|\n"
        for key, field in model.model_fields.items():
            yield f"| `{key}` | {_default(field)} |\n"


def _switches() -> str:
    rows = (f"| `{name}` | {'on' if on else 'off'} |\n" for name, on in SWITCHES.items())
    head = "\n## Names in `switches`\n\n| switch | default |\n|---|---|\n"
    idle = ", ".join(f"`{name}`" for name in sorted(IDLE_SWITCHES))
    return f"{head}{''.join(rows)}\n{IDLE.format(idle)}"


def _paragraphs(model: type[BaseModel]) -> str:
    text = inspect.getdoc(model) or ""
    return text.replace("``", "`").split(CITATION)[0].rstrip(".") + "."


def _variables(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [f"RILLFLOW_{name.upper()}"]
    return ", ".join(f"`{each}`" for each in names)


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def meanings_of(model: type[BaseModel]) -> dict[str, str]:
    """Return what the text below each field says, without references to the specification."""
    [body] = [node.body for node in ast.parse(inspect.getsource(model)).body]  # type: ignore[attr-defined]
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr), f"{field.target.id} is not explained"
            assert isinstance(text.value, ast.Constant)
            said = " ".join(str(text.value.value).split())
            found[field.target.id] = _plain(said)
    return found


def _plain(text: str) -> str:
    """Leave out citations of the specification, such as (spec 5.1)."""
    while CITATION in text:
        before, _, rest = text.partition(CITATION)
        text = before + rest.partition(")")[2]
    return text.replace("``", "`").replace("|", "\\|").replace("None ", "none ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
