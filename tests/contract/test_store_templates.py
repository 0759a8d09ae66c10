"""A store keeps task templates under ids of its own, with unique names."""

import asyncio
from collections.abc import Callable
from typing import Any

from rillflow.ports.storage.store import Store
from rillflow.ports.storage.templates import TaskTemplate, TemplateChange, TemplateFilter


def template(name: str, **fields: Any) -> TaskTemplate:
    given: dict[str, Any] = {"type": 0, "category": "function"} | fields
    return TaskTemplate(id=0, name=name, **given)


async def names(store: Store, limit: int = 10, offset: int = 0, **wanted: Any) -> list[str]:
    found = await store.list_templates(TemplateFilter(**wanted), limit=limit, offset=offset)
    assert [each.id for each in found] == sorted(each.id for each in found)
    return [each.name for each in found]


async def test_a_new_store_has_one_template(store: Store) -> None:
    [seed] = await store.list_templates(TemplateFilter(), limit=10)
    assert (seed.id, seed.name, seed.type) == (1, "aliyun-ai-module", 1)
    assert await store.count_templates() == 1


async def test_a_template_is_listed_as_it_was_created(store: Store) -> None:
    new = template("mine", icon="i", task_yaml="y", schema="s", output="o", enable=0)
    number = await store.create_template(new, at_ms=1)
    assert number is not None
    [found] = await store.list_templates(TemplateFilter(id=number), limit=10)
    assert found == TaskTemplate(
        id=number,
        name="mine",
        type=0,
        category="function",
        icon="i",
        task_yaml="y",
        schema="s",
        output="o",
        enable=0,
    )
    assert await store.count_templates() == 2


async def test_of_several_with_one_name_one_is_created(store: Store) -> None:
    created = await asyncio.gather(
        *(store.create_template(template("one"), at_ms=1) for _ in range(5))
    )
    assert sum(each is not None for each in created) == 1
    assert await store.count_templates() == 2


async def test_a_change_leaves_what_it_does_not_name(store: Store) -> None:
    number = await store.create_template(template("old", icon="i"), at_ms=1)
    assert number is not None
    change = TemplateChange(name="new", enable=0)
    assert await store.change_template(number, change, at_ms=2) is True
    [found] = await store.list_templates(TemplateFilter(id=number), limit=1)
    assert (found.name, found.enable, found.icon, found.category) == ("new", 0, "i", "function")
    assert await store.change_template(number, TemplateChange(), at_ms=3) is True
    assert await store.change_template(99, change, at_ms=2) is None, "the name is taken"
    assert await store.change_template(99, TemplateChange(enable=0), at_ms=2) is False
    taken = TemplateChange(name="aliyun-ai-module", icon="other")
    assert await store.change_template(number, taken, at_ms=2) is None
    assert await store.list_templates(TemplateFilter(id=number), limit=1) == [found]


async def test_a_list_has_those_that_fit_and_no_others(store: Store) -> None:
    for number in range(3):
        category = "pass" if number else "function"
        new = template(f"t%_{number}", type=2, category=category, enable=number % 2)
        await store.create_template(new, at_ms=1)
    assert await names(store, type=2) == ["t%_0", "t%_1", "t%_2"]
    assert await names(store, name="%_") == ["t%_0", "t%_1", "t%_2"]
    assert await names(store, name="T%") == []
    assert await names(store, category="pass", enable=0) == ["t%_2"]
    assert await names(store, limit=2, offset=1) == ["t%_0", "t%_1"]
    assert await names(store, offset=9) == []


async def test_templates_outlive_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.create_template(template("kept"), at_ms=1)
    await store.close()
    again = new_store()
    await again.open()
    assert await names(again) == ["aliyun-ai-module", "kept"]
    await again.close()
