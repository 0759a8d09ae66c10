"""The JSON Schema of the language says what each key means, for editors."""

import re
from pathlib import Path
from typing import Any

from rillflow.definition.language_schema import KEYS, language_schema

LANGUAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")


def parts() -> dict[str, Any]:
    schema: Any = language_schema()
    return {"WorkflowDefinition": schema, **schema["$defs"]}


def test_each_key_has_a_meaning() -> None:
    for name, part in parts().items():
        for key, shown in part.get("properties", {}).items():
            assert shown.get("description"), f"{name}.{key}"


def test_no_meaning_is_of_a_key_that_does_not_exist() -> None:
    known = parts()
    for name, meanings in KEYS.items():
        assert set(meanings) == set(known[name]["properties"])


def test_keys_are_those_of_the_manual() -> None:
    told = set(re.findall(r"`(\w+)`", LANGUAGE))
    missing = {key for part in parts().values() for key in part.get("properties", {})} - told
    assert not missing


def test_descriptions_name_no_paragraphs_of_the_specification() -> None:
    for part in parts().values():
        assert "(spec" not in part.get("description", "")
        assert "``" not in part.get("description", "")
