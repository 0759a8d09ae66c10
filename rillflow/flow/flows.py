"""A flow: a Python function that describes a workflow, and the definition made of it.

Used by `flow`.
"""

import inspect
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, Literal, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, Field, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from rillflow.definition.canonical import canonical_text
from rillflow.definition.model import CallbackConfig, WorkflowDefinition
from rillflow.definition.parse import parse_definition
from rillflow.flow.assembly import NOTHING, empty_lists, tasks_of
from rillflow.flow.calls import timeline_of
from rillflow.flow.options import ray_options_of, refuse_wrong_types
from rillflow.flow.placeholders.literals import literal_text, plain_constant
from rillflow.flow.placeholders.values import Reference, Value
from rillflow.flow.places import refusal
from rillflow.flow.results import end_flow
from rillflow.flow.tracing import Entry, Trace, name_from, tracing
from rillflow.ids import LONGEST_NAME, is_name, why_no_name

P = ParamSpec("P")
R = TypeVar("R")


class FlowOptions(TypedDict, total=False):
    """Options of a flow.

    Attributes:
        version: For people.
        timeout_s: Seconds after which an execution fails.
        isolation: ``dedicated`` gives every execution a process of its own.
        strict: A mapping rule without effect is a failure.
        callback: The address that receives the completion notice.
        ray_options: What calls of Ray need, for tasks that do not say otherwise.
        search_keys: Paths of the context by whose values one searches, as in ``$.context.user``.
        check_input: Whether a submission that does not fit the parameters is refused, as it is
            by default.
    """

    version: str
    timeout_s: int
    isolation: Literal["shared", "dedicated"]
    strict: bool
    callback: str
    ray_options: dict[str, Any]
    search_keys: Sequence[str]
    check_input: bool


class Flow(Generic[P, R]):
    """A workflow that a Python function describes; ``@flow`` makes it.

    Attributes:
        workspace: The name space of the definition.
        name: Its ``dagName``.
        function: The function.
    """

    def __init__(
        self, function: Callable[P, R], workspace: str, name: str, options: FlowOptions
    ) -> None:
        self.workspace = workspace
        self.name = name
        self.function = function
        self._options = options
        self.__doc__ = function.__doc__

    @property
    def descriptor_id(self) -> str:
        """Return ``workspace:name``, by which an execution is submitted."""
        return f"{self.workspace}:{self.name}"

    @property
    def text_parameters(self) -> frozenset[str]:
        """Return the parameters that are texts by their type hints."""
        hints = inspect.get_annotations(self.function)
        return frozenset(name for name, hint in hints.items() if hint in (str, "str"))

    @cached_property
    def definition(self) -> WorkflowDefinition:
        """Trace the function, the first time, and return the definition.

        Raises:
            FlowError: The function does what cannot be traced.
            DefinitionError: The definition is refused, as it would be in YAML.
        """
        return parse_definition(canonical_text(self._traced()))

    def to_yaml(self) -> str:
        """Return the definition as YAML.

        Raises:
            FlowError: The function does what cannot be traced.
            DefinitionError: The definition is refused.
        """
        return canonical_text(self.definition)

    def __call__(self, *_: P.args, **__: P.kwargs) -> NoReturn:
        """Refuse a call: a flow runs on a server."""
        raise refusal(
            f"{self.name} runs on a server: submit it with client.add(...) and client.submit(...),"
            f" or call it from another flow by subflow({self.name}, ...)"
        )

    def __repr__(self) -> str:
        """Return what it is called by."""
        return f"<flow {self.descriptor_id}>"

    def _traced(self) -> WorkflowDefinition:
        traced_function: Callable[..., Any] = self.function  # read by places.refusal
        parameters = _parameters_of(traced_function)
        trace = Trace({self.workspace, self.name, *parameters})
        given = {name: Value(Reference(Entry(name, trace.top))) for name in parameters}
        with tracing(trace):
            returned = traced_function(**given)
            if inspect.iscoroutine(returned):
                returned.close()
                raise refusal(f"a flow is a plain function, and {self.name} is an async def")
            end_flow(trace, returned)
        if not trace.top.tasks:
            raise refusal(f"the flow {self.name} calls nothing")
        tasks = tasks_of(trace.top, with_result=True)
        defaults = {**_defaults_of(parameters), **dict.fromkeys(empty_lists(trace.top), NOTHING)}
        return WorkflowDefinition(
            type="flow",
            workspace=self.workspace,
            dag_name=self.name,
            tasks=tasks,
            default_context=defaults or None,
            **self._schema_fields(parameters),
            **self._option_fields(),
        )

    def _schema_fields(self, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
        schema = _schema_of(self.function, parameters)
        if schema is None:
            return {}
        is_checked = self._options.get("check_input", True)
        return {"input_schema": schema, "enforce_input_schema": is_checked or None}

    def _option_fields(self) -> dict[str, Any]:
        options = self._options
        callback, ray = options.get("callback"), options.get("ray_options")
        return {
            "version": options.get("version"),
            "isolation": options.get("isolation"),
            "strict": options.get("strict"),
            "timeline": timeline_of(options.get("timeout_s")),
            "callback": None if callback is None else CallbackConfig(resource_name=callback),
            "ray_options": None if ray is None else ray_options_of(ray),
            "search_keys": tuple(options.get("search_keys", ())) or None,
        }


def flow(
    *, workspace: str, name: str | None = None, **options: Unpack[FlowOptions]
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a flow of a function, whose parameters are the keys of a submission.

    The function is called once, with placeholders, when the definition is first needed.

    Args:
        workspace: The name space of the definition.
        name: Its ``dagName``; by default the name of the function.
        options: See ``FlowOptions``.

    Raises:
        FlowError: A name is malformed, or there is no such option.
    """
    unknown = options.keys() - FlowOptions.__annotations__.keys()
    if unknown:
        raise refusal(f"a flow has no option {', '.join(sorted(unknown))}")
    refuse_wrong_types(
        {"workspace": workspace, "name": name, **options},
        callback=(str, "an address"),
        ray_options=(dict, "a dict"),
    )

    def made(function: Callable[P, R]) -> Flow[P, R]:
        chosen = name or name_from(function.__name__, "flow")
        for one in (workspace, chosen):
            if not is_name(one) or len(one) > LONGEST_NAME:
                raise refusal(f"{one!r:.60} is no name: {why_no_name(one, LONGEST_NAME)}")
        return Flow(function, workspace, chosen, options)

    return made


def _parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise refusal(f"a flow has a parameter for each key of a submission, and no *{name}")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise refusal(f"the keys of a submission are names, so {name} is not positional-only")
        if name.startswith("__"):
            raise refusal(f"keys of a context that begin with __ are reserved, such as {name}")
    return parameters


def _defaults_of(parameters: dict[str, inspect.Parameter]) -> dict[str, str | None]:
    defaults: dict[str, str | None] = {}
    for name, parameter in parameters.items():
        value = parameter.default
        if value is parameter.empty or value is None:
            continue
        text = literal_text(plain_constant(value, f"the default of {name}"))
        if text is None:
            raise refusal(
                f"the default of {name}, {value!r:.40}, would be read as something else by the"
                " language; give it when the flow is submitted"
            )
        defaults[name] = text
    return defaults


def _schema_of(
    function: Callable[..., Any], parameters: dict[str, inspect.Parameter]
) -> str | None:
    """Return the JSON Schema of the parameters by their type hints; None without any hint."""
    hints = {name: inspect.get_annotations(function).get(name) for name in parameters}
    if not any(hint is not None for hint in hints.values()):
        return None
    fields: dict[str, Any] = {}
    for name, parameter in parameters.items():
        hint = Any if hints[name] is None else hints[name]
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"parameter_{len(fields)}"] = (hint, Field(default, alias=name, title=name))
    try:
        model: type[BaseModel] = create_model("Input", __module__=function.__module__, **fields)
        schema = model.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        raise refusal(
            f"the type of a parameter has no JSON Schema: {error}".splitlines()[0]
        ) from None
    schema.pop("title", None)
    return json.dumps(schema, ensure_ascii=False)
