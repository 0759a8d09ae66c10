"""Tasks that call something: HTTP functions, Python functions on Ray, Serve, other flows.

Keyword arguments of a call are the input of what is called. Options come before them, by
``options``, as with Ray's remote functions, so that no input collides with an option.

Used by `flow`.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from rillflow.definition.model import Polling, RayOptions, Retry, Timeline
from rillflow.errors import InvalidIdError
from rillflow.flow.options import ray_options_of, refuse_wrong_types
from rillflow.flow.placeholders.literals import parts_of
from rillflow.flow.placeholders.values import Reference, Steps, Value
from rillflow.flow.places import refusal
from rillflow.flow.retries import Condition, conditions_of
from rillflow.flow.returned import root_of
from rillflow.flow.targets import address_of, bound_to, last_word
from rillflow.flow.tracing import Given, current
from rillflow.ids import parse_descriptor_id
from rillflow.ray_names import malformed

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class TaskOptions(TypedDict, total=False):
    """Options of every call.

    Attributes:
        name: Name of the task; by default what is called.
        title: For people.
        description: For people.
        timeout_s: Seconds after which an attempt fails, a whole number.
        retry: How failed attempts are repeated, by ``retry(...)``.
        tolerance: A failure makes the task SKIPPED, and its value is missing.
        success_when: What must hold of the output, else the attempt has failed.
        fail_when: The attempt has failed if this holds of the output.
    """

    name: str
    title: str
    description: str
    timeout_s: int
    retry: Retry
    tolerance: bool
    success_when: Condition
    fail_when: Condition


class CallOptions(TaskOptions, total=False):
    """Options of ``call``.

    Attributes:
        callback: The function answers later, by a callback (``task_async``).
        method: The HTTP verb; POST by default.
        poll_s: Seconds before an accepted call is polled for its result the first time.
    """

    callback: bool
    method: str
    poll_s: int


class RayCallOptions(TaskOptions, total=False):
    """Options of ``ray_call``: what the call needs, by Ray's names, and ``detached``."""

    num_cpus: float
    num_gpus: float
    memory: int
    resources: dict[str, float]
    accelerator_type: str
    label_selector: dict[str, str]
    max_calls: int
    runtime_env: str
    max_system_retries: int
    detached: bool
    batch: int


class SubflowOptions(TaskOptions, total=False):
    """Options of ``subflow``; with ``wait=False`` it is only started, and gives its id."""

    wait: bool


class AnyFlow(Protocol[P, R_co]):
    """A flow, as a task of another one calls it."""

    @property
    def descriptor_id(self) -> str:
        """Return ``workspace:name``."""

    @property
    def function(self) -> Callable[P, R_co]:
        """Return the function that describes it."""


class Call(Generic[R]):
    """Calls a function at an address: ``call("http://host/function/film", title=title)``."""

    def __init__(self, options: CallOptions | None = None) -> None:
        self._options: CallOptions = options or {}

    @overload
    def options(self, *, returns: type[S], **options: Unpack[CallOptions]) -> "Call[S]": ...

    @overload
    def options(self, **options: Unpack[CallOptions]) -> "Call[R]": ...

    def options(
        self, *, returns: type[S] | None = None, **options: Unpack[CallOptions]
    ) -> "Call[Any]":
        """Return the call with options; ``returns`` is the type of the output, for checkers."""
        del returns
        return Call({**self._options, **options})

    def __call__(self, address: str, /, **given: Any) -> R:
        """Add a task that calls an address, and return the placeholder of its output."""
        options: dict[str, Any] = dict(self._options)
        refuse_wrong_types(options)
        later = options.pop("callback", False)
        fields: dict[str, Any] = {"request_type": options.pop("method", None)}
        poll_s = options.pop("poll_s", None)
        if poll_s is not None:
            later = True
            polling = Polling(interval_s=_whole(poll_s, "poll_s"))
            fields |= {"completion": "poll", "polling": polling}
        fields["pattern"] = "task_async" if later else "task_sync"
        found: R = _add(address, given, options, fields)
        return found


class RayCall:
    """Calls a Python function in a Ray worker: ``ray_call(film, title=title)``."""

    def __init__(self, options: RayCallOptions | None = None) -> None:
        self._options: RayCallOptions = options or {}

    def options(self, **options: Unpack[RayCallOptions]) -> "RayCall":
        """Return the call with options."""
        return RayCall({**self._options, **options})

    @overload
    def __call__(self, function: Callable[P, R], /, *arguments: P.args, **given: P.kwargs) -> R: ...

    @overload
    def __call__(self, function: str, /, **given: Any) -> Any: ...

    def __call__(self, function: Callable[..., Any] | str, /, *arguments: Any, **given: Any) -> Any:
        """Add a task that calls a function, or ``module:function``.

        Returns:
            The placeholder of what it returns.
        """
        options: dict[str, Any] = dict(self._options)
        ray = {key: options.pop(key) for key in RayOptions.model_fields if key in options}
        root: Steps = ()
        if isinstance(function, str):
            address = _named("ray", function)
        else:
            plain = getattr(function, "_function", function)  # what @ray.remote has made of it
            address, given = address_of(plain), bound_to(plain, arguments, given)
            root = root_of(plain)
        fields: dict[str, Any] = {
            "pattern": "task_async" if ray.get("detached") else "task_sync",
            "ray_options": ray_options_of(ray) if ray else None,
        }
        return _add(address, given, options, fields, root)


class ServeCallOptions(TaskOptions, total=False):
    """Options of ``serve_call``; with ``stream`` the deployment streams its answer."""

    stream: bool
    max_system_retries: int


class ServeCall:
    """Calls a Ray Serve application: ``serve_call("application/deployment/method", text=text)``."""

    def __init__(self, options: ServeCallOptions | None = None) -> None:
        self._options: ServeCallOptions = options or {}

    def options(self, **options: Unpack[ServeCallOptions]) -> "ServeCall":
        """Return the call with options."""
        return ServeCall({**self._options, **options})

    def __call__(self, target: str, /, **given: Any) -> Any:
        """Add a task that calls ``application[/deployment[/method]]``."""
        address = _named("serve", target)
        options: dict[str, Any] = dict(self._options)
        ray: dict[str, Any] = {
            key: options.pop(key) for key in ("stream", "max_system_retries") if key in options
        }
        fields = {"pattern": "task_sync", "ray_options": ray_options_of(ray) if ray else None}
        return _add(address, given, options, fields)


class SubflowCall:
    """Runs another flow: ``subflow(greeting, name=name)``, or by ``"workspace:name"``."""

    def __init__(self, options: SubflowOptions | None = None) -> None:
        self._options: SubflowOptions = options or {}

    def options(self, **options: Unpack[SubflowOptions]) -> "SubflowCall":
        """Return the call with options."""
        return SubflowCall({**self._options, **options})

    @overload
    def __call__(self, flow: AnyFlow[P, R], /, *arguments: P.args, **given: P.kwargs) -> R: ...

    @overload
    def __call__(self, flow: str, /, **given: Any) -> Any: ...

    def __call__(self, flow: AnyFlow[..., Any] | str, /, *arguments: Any, **given: Any) -> Any:
        """Add a task that runs a flow; its value is the context at the end of that execution."""
        options: dict[str, Any] = dict(self._options)
        refuse_wrong_types(options)
        if not isinstance(flow, str):
            if not callable(getattr(flow, "function", None)):
                raise refusal(f"{flow!r:.60} is no flow: make one of it by @flow, or name one")
            given = bound_to(flow.function, arguments, given)
            flow = flow.descriptor_id
        pattern = "flow_sync" if options.pop("wait", True) else "flow_async"
        address = f"rillflow://{_descriptor(flow.removeprefix('rillflow://'))}"
        return _add(address, given, options, {"pattern": pattern})


call: Final[Call[Any]] = Call()
ray_call: Final = RayCall()
serve_call: Final = ServeCall()
subflow: Final = SubflowCall()


def _named(protocol: str, target: object) -> str:
    """Return the address of what a text names, with or without the protocol.

    Raises:
        FlowError: It names nothing.
    """
    if not isinstance(target, str):
        raise refusal(f"what {protocol}:// calls is named by a text, not by {target!r:.40}")
    address = f"{protocol}://{target.removeprefix(f'{protocol}://')}"
    wrong = None if "${" in address else malformed(protocol, address)
    if wrong is not None:
        raise refusal(f"{address!r:.60} {wrong[0]}; {wrong[1]}")
    return address


def _descriptor(flow: str) -> str:
    try:
        if "${" not in flow:
            parse_descriptor_id(flow)
    except InvalidIdError as error:
        raise refusal(f"{flow!r:.60} names no flow; {error.hint}") from None
    return flow


def timeline_of(timeout_s: object) -> Timeline | None:
    """Return a time-out as a timeline.

    Raises:
        FlowError: It is no positive whole number.
    """
    return None if timeout_s is None else Timeline(timeout_s=str(_whole(timeout_s, "timeout_s")))


def _whole(seconds: object, what: str) -> int:
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 1:
        raise refusal(f"{what} is a whole number of seconds, 1 or more, not {seconds!r:.40}")
    return seconds


def _add(
    address: str,
    given: dict[str, Any],
    options: dict[str, Any],
    fields: dict[str, Any],
    root: Steps = (),
) -> Any:
    trace = current(f"a call of {address!r:.60}")
    refuse_wrong_types(options)
    if not isinstance(address, str):
        raise refusal("the address of a call is a text, and no placeholder")
    unknown = options.keys() - TaskOptions.__annotations__.keys()
    if unknown:
        raise refusal(f"there is no option {', '.join(sorted(unknown))}")
    task = trace.begin("function", last_word(address), options.get("name"))
    task.root = root
    task.fields = {
        "resource_name": address,
        "title": options.get("title"),
        "description": options.get("description"),
        "tolerance": options.get("tolerance", False),
        "timeline": timeline_of(options.get("timeout_s")),
        "retry": options.get("retry"),
        "success_conditions": conditions_of(options.get("success_when")),
        "fail_conditions": conditions_of(options.get("fail_when")),
        **{key: value for key, value in fields.items() if value is not None},
    }
    parts = (part for key, value in given.items() for part in parts_of(value, (key,)))
    trace.give(task, [Given(part.steps, part.node) for part in parts])
    return Value(Reference(task))
