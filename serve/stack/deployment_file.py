"""Reads a deployment file of Serve, and tells what Serve would overlook in it.

Serve takes a field that it does not know for none at all. So ``http_option:`` in the place of
``http_options:`` has it listen on every address, which is its default.

Used by `serve/stack/cluster_check.py` and `serve/stack/cluster_control.py`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from rillflow.errors import StackError
from rillflow.suggestions import closest

MOST_BYTES: Final = 1 << 20
REPLICAS: Final = 2
"""How many there are where nodes and file allow it, and the file says nothing."""
RELEASE: Final = "RILLFLOW_RELEASE"


def read_deployment_file(path: Path) -> ServeDeploySchema:
    """Return what a file has Serve deploy.

    Raises:
        StackError: It cannot be read, Serve does not take it, or Serve would overlook something.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise StackError(f"{path} is longer than {MOST_BYTES} bytes")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise StackError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise StackError(f"{path} has no fields; serve/config.yaml of Rillflow is an example")
    try:
        schema = ServeDeploySchema.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StackError(f"{path}: {where or 'it'} is wrong: {first['msg']}") from error
    overlooked = "; ".join(_overlooked(content, schema, ""))
    if overlooked:
        raise StackError(f"{path}: {overlooked}; Serve would overlook that")
    return schema


def is_ours(import_path: str) -> bool:
    """Tell whether an application of a file is Rillflow, by its import path."""
    return import_path.startswith("serve.")


def text_to_send(path: Path, release: str, nodes: int) -> str:
    """Return a file that Serve takes, with what it leaves to whoever sends it.

    Args:
        path: The file.
        release: Named where the file names none. Serve starts nothing anew for a file that is as
            it was, whatever the code is meanwhile.
        nodes: How many there are. From two on there are two replicas, where the file says no
            ``min_replicas``, so that the loss of one costs no request more than a repetition.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for application in content["applications"]:
        if is_ours(str(application["import_path"])):
            environment = application.setdefault("runtime_env", {}).setdefault("env_vars", {})
            environment.setdefault(RELEASE, release)
            for deployment in application.get("deployments", ()):
                _have_replicas(deployment, min(nodes, REPLICAS))
    return yaml.safe_dump(content, sort_keys=False)


def _have_replicas(deployment: dict[str, Any], least: int) -> None:
    scaling = deployment.get("autoscaling_config")
    if isinstance(scaling, dict) and scaling.get("max_replicas", least) >= least:
        scaling.setdefault("min_replicas", least)


def _overlooked(content: Mapping[str, Any], schema: BaseModel, place: str) -> Iterator[str]:
    known = type(schema).model_fields
    for name, value in content.items():
        if name not in known:
            near = closest(str(name), sorted(known))
            yield f"there is no field {place}{name}" + (f", did you mean {near}?" if near else "")
            continue
        parsed = getattr(schema, name)
        pairs = zip(value, parsed, strict=False) if isinstance(value, list) else [(value, parsed)]
        for number, (below, its) in enumerate(pairs):
            if isinstance(below, dict) and isinstance(its, BaseModel):
                index = f"[{number}]" if isinstance(value, list) else ""
                yield from _overlooked(below, its, f"{place}{name}{index}.")
