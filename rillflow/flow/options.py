"""Options that authors give, checked at the line that gives them.

Used by `flow/calls.py`, `flow/flows.py` and `flow/retries.py`.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from rillflow.definition.checks.ray_options import wrong_options
from rillflow.definition.model import RayOptions, Retry
from rillflow.flow.places import refusal

Model = TypeVar("Model", bound=BaseModel)

_TEXT: Final = (str, "a text")
_CHOICE: Final = (bool, "True or False")
_KINDS: Final[Mapping[str, tuple[type, str]]] = {
    **dict.fromkeys(("name", "title", "description", "method", "version", "isolation"), _TEXT),
    **dict.fromkeys(("tolerance", "callback", "wait", "strict", "check_input"), _CHOICE),
    "retry": (Retry, "what retry(...) returns"),
}


def refuse_wrong_types(options: Mapping[str, Any], **others: tuple[type, str]) -> None:
    """Make sure that options have their types; ``others`` are those of the same name elsewhere.

    Raises:
        FlowError: One has another type, such as a placeholder.
    """
    kinds = {**_KINDS, **others}
    for name, value in options.items():
        kind, said = kinds.get(name, (object, ""))
        if value is not None and not isinstance(value, kind):
            raise refusal(f"{name} is {said}, not {value!r:.40}")


def ray_options_of(given: Mapping[str, Any]) -> RayOptions:
    """Return the options of a call of Ray.

    Raises:
        FlowError: There is no such option, or it cannot have this value.
    """
    unknown = given.keys() - RayOptions.model_fields.keys()
    if unknown:
        raise refusal(f"there is no option {', '.join(sorted(unknown))}")
    options = made(RayOptions, given)
    for wrong in wrong_options(options):
        raise refusal(f"{wrong.reason}; {wrong.hint}" if wrong.hint else wrong.reason)
    return options


def made(model: type[Model], given: Mapping[str, Any]) -> Model:
    """Return a part of the definition.

    Raises:
        FlowError: A field cannot have this value.
    """
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0])
        raise refusal(f"{name}: {first['msg']}, not {given[name]!r:.40}") from None
