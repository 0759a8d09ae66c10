"""A deployment file that Serve would take for another one is refused, with its mistake."""

import json
from pathlib import Path
from typing import Final

import pytest
import yaml

from rillflow.errors import StackError
from serve.stack.deployment_file import (
    MOST_BYTES,
    RELEASE,
    read_deployment_file,
    text_to_send,
)

FILE: Final = Path(__file__).parents[2] / "serve" / "config.yaml"
TEXT: Final = FILE.read_text(encoding="utf-8")


def test_the_file_of_the_repository_is_taken() -> None:
    schema = read_deployment_file(FILE)
    assert schema.http_options.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("right", "mistyped", "told"),
    [
        ("http_options:", "http_option:", "no field http_option, did you mean http_options?"),
        ("  host: 127", "  hots: 127", "no field http_options.hots, did you mean host?"),
        (
            "runtime_env:",
            "runtimeenv:",
            "no field applications[0].runtimeenv, did you mean runtime_env?",
        ),
        ("import_path:", "importpath:", "applications.0.import_path is wrong: Field required"),
        ("proxy_location: HeadOnly", "proxy_location: [", " is not YAML: "),
    ],
)
def test_a_mistyped_field_is_told_instead_of_overlooked(
    tmp_path: Path, right: str, mistyped: str, told: str
) -> None:
    assert right in TEXT
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.replace(right, mistyped), encoding="utf-8")
    with pytest.raises(StackError) as refused:
        read_deployment_file(path)
    assert told in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "- a list", "a text", "x" * (MOST_BYTES + 1)])
def test_a_file_that_is_no_deployment_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(StackError, match=r"has no fields|is longer than"):
        read_deployment_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot be read"):
        read_deployment_file(tmp_path / "none.yaml")


def test_a_file_names_the_release_of_the_code_unless_it_says_another(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    cases: tuple[tuple[dict[str, str], str], ...] = (({}, "0.2+x/2"), ({RELEASE: "mine"}, "mine"))
    for own, expected in cases:
        application = {"import_path": "serve.app:app", "runtime_env": {"env_vars": own}}
        other = {"import_path": "other:app"}
        path.write_text(yaml.safe_dump({"applications": [application, other]}), "utf-8")
        sent = yaml.safe_load(text_to_send(path, "0.2+x/2", 1))
        assert sent["applications"][0]["runtime_env"]["env_vars"] == {RELEASE: expected}
        assert sent["applications"][1] == other


@pytest.mark.parametrize(
    ("nodes", "scaling", "least"),
    [
        (1, {"max_replicas": 5}, 1),
        (2, {"max_replicas": 5}, 2),
        (9, {"max_replicas": 5}, 2),
        (2, {"min_replicas": 1, "max_replicas": 5}, 1),
        (2, {"max_replicas": 1}, None),
        (2, None, None),
    ],
)
def test_from_two_nodes_on_there_are_two_replicas_unless_the_file_says_otherwise(
    tmp_path: Path, nodes: int, scaling: dict[str, int] | None, least: int | None
) -> None:
    path = tmp_path / "config.yaml"
    replicas = {"name": "rillflow-api", **({"autoscaling_config": scaling} if scaling else {})}
    other = {"import_path": "other:app", "deployments": [replicas]}
    own = {"import_path": "serve.app:app", "deployments": [replicas]}
    path.write_text(json.dumps({"applications": [own, other]}), "utf-8")
    sent, unchanged = yaml.safe_load(text_to_send(path, "0.2+x/2", nodes))["applications"]
    assert sent["deployments"][0].get("autoscaling_config", {}).get("min_replicas") == least
    assert unchanged == other


def test_the_file_of_the_repository_leaves_the_number_to_the_nodes() -> None:
    for nodes in (1, 2):
        sent = yaml.safe_load(text_to_send(FILE, "0.2+x/2", nodes))
        [deployment] = sent["applications"][0]["deployments"]
        assert deployment["autoscaling_config"]["min_replicas"] == nodes
