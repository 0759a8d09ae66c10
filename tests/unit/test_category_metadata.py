"""The console's palette describes each category and the fields of its form."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from serve.routes.console.template_metadata import FIELDS, meta_data


@pytest.mark.case("FN-29")
def test_the_description_of_the_function_category_names_its_fields() -> None:
    described = meta_data("function")
    assert (described["category"], described["icon"]) == ("function", "ant-design:api-outlined")
    assert described["fields"]["next"] == {"title": "下一节点", "type": "string", "required": False}
    assert len(described["fields"]) == 16


RULE: Final = ("", ".reference", ".source", ".target")
INPUTS: Final = [f"inputMappings{field}" for field in RULE]
OUTPUTS: Final = [f"outputMappings{field}" for field in RULE]
REQUIRED: Final = {
    "function": [
        *("name", "pattern", "resourceName", "resourceProtocol", "retry.maxRetryTimes"),
        *(*INPUTS, *OUTPUTS),
    ],
    "foreach": [
        *("iterationMapping", "iterationMapping.collection", "iterationMapping.item"),
        *("name", "tasks", *INPUTS, *OUTPUTS),
    ],
    "suspense": ["conditions", "name", *INPUTS, *OUTPUTS],
    "pass": ["name", *INPUTS, *OUTPUTS],
    "return": ["conditions", "name", *INPUTS],
    "switch": ["name", "switches", *INPUTS],
}
"""The fields that Rill Flow's metadata marks as required."""


def required_paths(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, field in fields.items():
        if name == "requiredGroup":
            continue
        if field.get("required"):
            yield name
        inner = field.get("properties") or field.get("items", {}).get("properties", {})
        yield from (f"{name}.{path}" for path in required_paths(inner))


@pytest.mark.parametrize("category", sorted(FIELDS))
def test_a_field_is_required_where_rill_flow_marks_it_as_required(category: str) -> None:
    assert sorted(required_paths(FIELDS[category])) == sorted(REQUIRED[category])


@pytest.mark.parametrize("category", sorted(FIELDS))
def test_a_rule_needs_source_and_target_or_a_reference(category: str) -> None:
    rule = FIELDS[category]["inputMappings"]["items"]["properties"]
    assert rule["requiredGroup"] == [["source", "target"], ["reference"]]


@pytest.mark.parametrize("category", sorted(FIELDS))
def test_every_offered_category_has_an_icon_and_asks_for_a_name(category: str) -> None:
    described = meta_data(category)
    assert described["icon"].startswith("ant-design:")
    assert described["fields"]["name"]["required"] is True


def test_the_form_of_a_foreach_describes_no_field_of_its_child_tasks() -> None:
    """The form keeps the described fields of each item and deletes the others."""
    assert FIELDS["foreach"]["tasks"]["items"] == {}


def test_choices_are_titles_and_constants() -> None:
    found = [field for fields in FIELDS.values() for field in fields.values() if "oneOf" in field]
    assert len(found) == 4
    for field in found:
        assert all(each.keys() == {"title", "const"} for each in field["oneOf"])
    assert not any("options" in field for fields in FIELDS.values() for field in fields.values())


def test_a_suspense_asks_for_interruptions_and_a_retry_for_no_conditions() -> None:
    assert FIELDS["suspense"]["interruptions"]["type"] == "array"
    retry = FIELDS["function"]["retry"]["properties"]
    assert list(retry) == ["maxRetryTimes", "intervalInSeconds", "multiplier"]
