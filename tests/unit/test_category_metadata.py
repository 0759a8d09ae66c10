"""The console's palette describes each category and the fields of its form."""

import pytest

from serve.template_metadata import FIELDS, meta_data


@pytest.mark.case("FN-29")
def test_the_description_of_the_function_category_names_its_fields() -> None:
    described = meta_data("function")
    assert (described["category"], described["icon"]) == ("function", "ant-design:api-outlined")
    assert described["fields"]["next"] == {"title": "下一节点", "type": "string", "required": False}
    assert len(described["fields"]) == 16


@pytest.mark.parametrize("category", sorted(FIELDS))
def test_every_offered_category_has_an_icon_and_asks_for_a_name(category: str) -> None:
    described = meta_data(category)
    assert described["icon"].startswith("ant-design:")
    assert described["fields"]["name"]["required"] is True
