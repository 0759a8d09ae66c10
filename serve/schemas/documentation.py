"""Building blocks for what the OpenAPI document says about parameters, bodies and answers.

The routers use them in their decorators; ``routes/document.py`` adds access and limits.

Used by `serve/routes` and `serve/routes/console`.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve.schemas.answers import Refusal

Extra: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[int | str, dict[str, Any]]

_REFERENCE: Final = "#/components/schemas/{model}"
_ANSWERS: Final[dict[str, type[BaseModel]]] = {}
"""The models of all answers that the routers describe."""


def by_reference(model: type[BaseModel], description: str) -> Extra:
    """Describe an answer by a reference to its model, which ``answer_schemas`` has.

    As models of every route they would take most of the time in which the API starts.
    """
    _ANSWERS[model.__name__] = model
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def answer_schemas() -> Extra:
    """Return the schemas of the models of all answers, and of what is in them, by name."""
    models: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (model, "serialization") for model in _ANSWERS.values()
    ]
    schemas: Extra = models_json_schema(models, ref_template=_REFERENCE)[1]["$defs"]
    return schemas


ERRORS: Final[Responses] = {
    400: by_reference(Refusal, "Refused; `error_code` says why."),
    422: by_reference(Refusal, "A parameter or the body is missing or malformed."),
    500: by_reference(Refusal, "The engine refused, with a code of 303xx to 306xx."),
    503: by_reference(Refusal, "The store did not answer in time; try again."),
}
"""Answers that every route may give."""

NOT_FOUND: Final[Responses] = {
    404: by_reference(Refusal, "There is nothing of that name."),
    409: by_reference(Refusal, "The execution is in quarantine, or a name is taken."),
}
"""An answer of the console's routes, where Rill Flow's answer 400 or an empty object."""

OBJECT: Final[Extra] = {
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}
}
"""An optional body: a JSON object."""

TEXT: Final[Extra] = {
    "requestBody": {
        "required": True,
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}
"""A body that is the text of a definition."""


def text(name: str, description: str, *, required: bool = False) -> Extra:
    """Describe a query parameter that is text."""
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": {"type": "string"},
    }


def header(name: str, description: str) -> Extra:
    """Describe an optional request header."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


def answer(model: type[BaseModel]) -> Responses:
    """Describe the answer of success."""
    return {200: by_reference(model, "Done.")}


def example(value: Mapping[str, Any]) -> Extra:
    """Describe an optional JSON body by an example."""
    content = {"schema": {"type": "object"}, "example": dict(value)}
    return {"requestBody": {"content": {"application/json": content}}}
