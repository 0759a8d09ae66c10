"""Rows that a new database holds.

Used by `stores/memory/templates.py`, `stores/postgres/schema.py` and `stores/sqlite/schema.py`.
"""

from typing import Final

from rillflow.ports.storage.templates import TaskTemplate

ALIYUN_TEMPLATE: Final = TaskTemplate(
    id=1,
    name="aliyun-ai-module",
    type=1,
    category="function",
    task_yaml=(
        "name: aliyunModel\n"
        "category: function\n"
        "pattern: task_sync\n"
        'resourceName: "aliyun_ai://aliyun"\n'
    ),
    schema=(
        '{"type":"object","required":["apikey","prompt"],"properties":{'
        '"apikey":{"type":"string"},"model":{"type":"string"},"prompt":{"type":"string"},'
        '"message_prefix":{"type":"string"},"message_suffix":{"type":"string"}}}'
    ),
    output=(
        '{"type":"object","properties":{"output":{"type":"object","properties":{'
        '"text":{"type":"string"}}}}}'
    ),
)
"""The one template that Rill Flow starts with (spec 7.2)."""

ALIYUN_ROW: Final = (
    "INSERT INTO task_templates (name, type, category, icon, task_yaml, schema, output, enable,"  # noqa: S608 - own text
    f" created_at_ms, updated_at_ms) VALUES ('{ALIYUN_TEMPLATE.name}', {ALIYUN_TEMPLATE.type},"
    f" '{ALIYUN_TEMPLATE.category}', '{ALIYUN_TEMPLATE.icon}', '{ALIYUN_TEMPLATE.task_yaml}',"
    f" '{ALIYUN_TEMPLATE.schema}', '{ALIYUN_TEMPLATE.output}', {ALIYUN_TEMPLATE.enable}, 0, 0)"
)
"""The statement that adds it to a new table."""
