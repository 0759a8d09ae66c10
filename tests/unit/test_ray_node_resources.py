"""What no node has, in use or not, is named; what is only in use is no reason to warn."""

from typing import Any, Final

import pytest

from rillflow.ray_tasks.limits.node_resources import lacking

NODES: Final[list[dict[str, Any]]] = [
    {"Alive": True, "Resources": {"CPU": 2.0, "memory": 8e9}, "Labels": {"zone": "a"}},
    {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0, "accelerator_type:A100": 1.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}, "Labels": {"zone": "b"}},
]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ""),
        ({"num_cpus": 16, "num_gpus": 1}, ""),
        ({"accelerator_type": "A100"}, ""),
        ({"label_selector": {"zone": "a"}}, ""),
        ({"label_selector": {"zone": "!a"}}, ""),
        ({"label_selector": {"zone": "in(b, a)"}}, ""),
        ({"label_selector": {"zone": "!in(a,b)"}, "num_gpus": 1}, ""),
        ({"label_selector": {"zone": "!a"}, "num_cpus": 17}, "CPU 17, label zone=!a"),
        ({"label_selector": {"zone": "in(b, c)"}}, "CPU 1, label zone=in(b, c)"),
        ({"label_selector": {"zone": "!in(a)"}, "num_cpus": 32}, "CPU 32, label zone=!in(a)"),
        ({"label_selector": {"a": "!b", "c": "in(x)"}}, "CPU 1, label a=!b, label c=in(x)"),
        ({"num_cpus": 17}, "CPU 17"),
        ({"num_cpus": 0, "num_gpus": 8}, "GPU 8"),
        ({"num_gpus": 1, "memory": 1_000}, "CPU 1, GPU 1, memory 1000"),
        ({"resources": {"disk": 0.5}}, "CPU 1, disk 0.5"),
        ({"accelerator_type": "H100"}, "CPU 1, accelerator_type:H100 0.001"),
        ({"label_selector": {"zone": "b"}}, "CPU 1, label zone=b"),
    ],
)
def test_a_call_is_compared_with_each_node_that_lives(options: dict[str, Any], told: str) -> None:
    assert lacking(options, NODES) == told
