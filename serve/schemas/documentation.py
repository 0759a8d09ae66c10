"""Building blocks for what the OpenAPI document says about parameters, bodies and answers.

The routers use them in their decorators; ``routes/document.py`` adds access and limits.

Used by `serve/routes` and `serve/routes/console`.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from serve.schemas.answers import Refusal

Extra: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[int | str, dict[str, Any]]

# By reference: as models on every route they would take most of the start-up time.
_REFUSAL: Final[Extra] = {
    "content": {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{Refusal.__name__}"}}
    }
}

ERRORS: Final[Responses] = {
    400: {**_REFUSAL, "description": "Refused; `error_code` says why."},
    422: {**_REFUSAL, "description": "A parameter or the body is missing or malformed."},
    500: {**_REFUSAL, "description": "The engine refused, with a code of 303xx to 306xx."},
    503: {**_REFUSAL, "description": "The store did not answer in time; try again."},
}
"""Answers that every route may give."""

NOT_FOUND: Final[Responses] = {
    404: {**_REFUSAL, "description": "There is nothing of that name."},
    409: {**_REFUSAL, "description": "The execution is in quarantine, or a name is taken."},
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
    return {200: {"model": model, "description": "Done."}}


def example(value: Mapping[str, Any]) -> Extra:
    """Describe an optional JSON body by an example."""
    content = {"schema": {"type": "object"}, "example": dict(value)}
    return {"requestBody": {"content": {"application/json": content}}}
