"""The entries of the console's palette: built-in ones for the categories, and templates (spec 7.2).

Titles are in the language of the console. ``required`` is what the console's form asks for, as Rill
Flow's metadata has it; the language requires less (spec 1.3, 1.4).

Used by `serve/routes/console/templates.py`.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from rillflow.ports.storage.templates import TaskTemplate

Field: TypeAlias = dict[str, Any]


def _field(title: str, kind: str = "string", *, required: bool = False, **more: Any) -> Field:
    return {"title": title, "type": kind, "required": required, **more}


def _choices(*values: str) -> dict[str, Any]:
    return {"oneOf": [{"title": value, "const": value} for value in values]}


_MAPPING: Final[dict[str, Any]] = {
    "items": {
        "type": "object",
        "properties": {
            "source": _field("源", required=True),
            "transform": _field("转换函数"),
            "target": _field("目标", required=True),
            "reference": _field("引用的公共映射", required=True),
            "tolerance": _field("是否容错", "boolean"),
            # The form asks for the fields of one of these groups only.
            "requiredGroup": [["source", "target"], ["reference"]],
        },
    }
}
_CONDITIONS: Final[dict[str, Any]] = {"items": {"type": "string"}}

_HEAD: Final[Mapping[str, Field]] = {
    "name": _field("节点名称", required=True),
    "title": _field("节点标题"),
    "description": _field("节点描述"),
}
_INPUTS: Final[Mapping[str, Field]] = {
    "inputMappings": _field("输入映射", "array", required=True, **_MAPPING)
}
_OUTPUTS: Final[Mapping[str, Field]] = {
    "outputMappings": _field("输出映射", "array", required=True, **_MAPPING)
}
_NEXT: Final[Mapping[str, Field]] = {"next": _field("下一节点")}

FIELDS: Final[Mapping[str, Mapping[str, Field]]] = {
    "function": {
        **_HEAD,
        "resourceName": _field("资源名称", required=True),
        "resourceProtocol": _field("资源协议", required=True),
        "requestType": _field(
            "请求方式", default="POST", **_choices("GET", "POST", "PUT", "DELETE")
        ),
        "pattern": _field(
            "执行模式",
            required=True,
            **_choices("task_sync", "task_async", "task_scheduler", "flow_sync", "flow_async"),
        ),
        "inputType": _field("输入类型", **_choices("block", "stream")),
        "outputType": _field("输出类型", **_choices("block", "stream")),
        **_INPUTS,
        **_OUTPUTS,
        "tolerance": _field("是否容错", "boolean", default=False),
        "successConditions": _field("成功条件", "array", **_CONDITIONS),
        "failConditions": _field("失败条件", "array", **_CONDITIONS),
        "retry": _field(
            "重试策略",
            "object",
            properties={
                "maxRetryTimes": _field("最大重试次数", "number", required=True),
                "intervalInSeconds": _field("重试间隔秒数", "number"),
                "multiplier": _field("间隔倍数", "number"),
                # No field for conditions: the form would write an empty list of them.
            },
        ),
        **_NEXT,
    },
    "foreach": {
        **_HEAD,
        "synchronization": _field(
            "同步策略",
            "object",
            properties={
                "conditions": _field("同步条件", "array", **_CONDITIONS),
                "maxConcurrency": _field("最大并发数"),
            },
        ),
        "iterationMapping": _field(
            "迭代映射",
            "object",
            required=True,
            properties={
                "collection": _field("集合", required=True),
                "item": _field("元素", required=True),
                "index": _field("下标"),
                "identity": _field("标识"),
            },
        ),
        **_INPUTS,
        **_OUTPUTS,
        # The items have no description: the console's form keeps only the described fields of each
        # item, and would delete the mappings of the child tasks.
        "tasks": _field("子任务", "array", required=True, items={}),
        **_NEXT,
    },
    "suspense": {
        **_HEAD,
        "conditions": _field("唤醒条件", "array", required=True, **_CONDITIONS),
        "interruptions": _field("中断条件", "array", **_CONDITIONS),
        **_INPUTS,
        **_OUTPUTS,
        **_NEXT,
    },
    "pass": {**_HEAD, **_INPUTS, **_OUTPUTS, **_NEXT},
    "return": {
        **_HEAD,
        "conditions": _field("返回条件", "array", required=True, **_CONDITIONS),
        **_INPUTS,
        **_NEXT,
    },
    "switch": {
        **_HEAD,
        **_INPUTS,
        "switches": _field(
            "分支",
            "array",
            required=True,
            items={
                "type": "object",
                "properties": {
                    "condition": _field("条件"),
                    "next": _field("下一节点"),
                    "break": _field("是否中断", "boolean", default=False),
                },
            },
        ),
        **_NEXT,
    },
}
"""Fields of each category in the console's form; choice is not offered."""

ICONS: Final[Mapping[str, str]] = {
    "function": "ant-design:api-outlined",
    "foreach": "ant-design:sync-outlined",
    "suspense": "ant-design:pause-circle-outlined",
    "pass": "ant-design:issues-close-outlined",
    "return": "ant-design:filter-outlined",
    "switch": "ant-design:branches-outlined",
    "choice": "ant-design:fork-outlined",
}
CHOICE_FIELDS: Final[Mapping[str, Field]] = {
    **_HEAD,
    **_INPUTS,
    "choices": _field("选项", "array", required=True, items={}),
    **_OUTPUTS,
    **_NEXT,
}
"""Fields of a choice, which is not offered by itself; a template may have its category."""

FUNCTION_TYPE: Final = 0
LOGIC_TYPE: Final = 2
TYPE_NAMES: Final[Mapping[int, str]] = {0: "函数模板", 1: "插件模板", 2: "逻辑模板"}
META_MARK: Final = "（元数据）"  # noqa: RUF001 - the console's own brackets


def meta_data(category: str) -> dict[str, Any]:
    """Return the icon, title and form of a category in the palette."""
    fields = CHOICE_FIELDS if category == "choice" else FIELDS.get(category, _HEAD)
    return {"category": category, "icon": ICONS.get(category, ""), "fields": fields}


def user_template(template: TaskTemplate) -> dict[str, Any]:
    """Return a template that users made as an entry in the list of templates.

    One of a type or category that this release does not know keeps the others from nobody.
    """
    return {
        **msgspec.structs.asdict(template),
        "type_str": TYPE_NAMES.get(template.type, ""),
        "node_type": "template",
        "meta_data": meta_data(template.category),
    }


def meta_template(category: str) -> dict[str, Any]:
    """Return a category as an entry in the list of templates."""
    kind = FUNCTION_TYPE if category == "function" else LOGIC_TYPE
    return {
        "name": category,
        "type": kind,
        "type_str": TYPE_NAMES[kind] + META_MARK,
        "node_type": "meta",
        "category": category,
        "icon": ICONS[category],
        "task_yaml": "",
        "meta_data": meta_data(category),
        "schema": "{}",
        "output": "{}",
        "enable": 1,
    }
