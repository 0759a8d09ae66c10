"""What ``ray://module:function`` names, and whether the settings allow it.

Used by `actors` and `ray_tasks`.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from rillflow.errors import GatewayError
from rillflow.ray_names import (
    ACTOR,
    ACTOR_HINT,
    APPLICATION,
    APPLICATION_HINT,
    FUNCTION,
    FUNCTION_HINT,
)

SCHEME: Final = "ray"
ACTOR_SCHEME: Final = "ray-actor"
JOB_SCHEME: Final = "ray-job"
SERVE_SCHEME: Final = "serve"
OWN_NAMES: Final = "rillflow:"
"""Names of the stack's own actors begin so; no task may call one."""


class FunctionTarget(NamedTuple):
    """A function of a module; neither has a name that begins with an underscore."""

    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


class ActorTarget(NamedTuple):
    """A method of a named actor; an empty namespace is that of the stack."""

    name: str
    namespace: str
    method: str

    @property
    def host(self) -> str:
        """The actor, as operators see it."""
        namespace = f"@{self.namespace}" if self.namespace else ""
        return f"{ACTOR_SCHEME}://{self.name}{namespace}"


class ServeTarget(NamedTuple):
    """A method of a deployment; an empty deployment is the ingress of its application."""

    application: str
    deployment: str
    method: str

    @property
    def host(self) -> str:
        """The application, as operators see it."""
        return f"{SERVE_SCHEME}://{self.application}"


def actor_target(resource_name: str, allowed: Sequence[str]) -> ActorTarget:
    """Read the name of a method of an actor.

    Raises:
        GatewayError: It names none, or ``ray_actors`` does not allow the actor.
    """
    named = resource_name.partition("://")[2] or resource_name
    match = ACTOR.fullmatch(named)
    if match is None:
        raise GatewayError(f"{named[:256]!r} names no method of an actor", hint=ACTOR_HINT)
    target = ActorTarget(match["name"], match["namespace"] or "", match["method"])
    actor = f"{target.name}@{target.namespace}" if target.namespace else target.name
    if actor not in allowed or target.name.startswith(OWN_NAMES):
        raise GatewayError(
            f"the setting ray_actors does not allow the actor {actor}",
            hint="ray_actors lists the actors that tasks may call, as name or name@namespace",
        )
    return target


def serve_target(resource_name: str, allowed: Sequence[str]) -> ServeTarget:
    """Read the name of a deployment.

    Raises:
        GatewayError: It names none, or ``serve_applications`` does not allow the application.
    """
    named = resource_name.partition("://")[2] or resource_name
    match = APPLICATION.fullmatch(named)
    if match is None:
        raise GatewayError(f"{named[:256]!r} names no Serve application", hint=APPLICATION_HINT)
    target = ServeTarget(
        match["application"], match["deployment"] or "", match["method"] or "__call__"
    )
    if target.application not in allowed:
        raise GatewayError(
            f"the setting serve_applications does not allow the application {target.application}",
            hint="serve_applications lists the Serve applications that tasks may call",
        )
    return target


def job_name(resource_name: str, allowed: Collection[str]) -> str:
    """Read the name of a job.

    Raises:
        GatewayError: ``ray_jobs`` has none of this name.
    """
    name = resource_name.partition("://")[2] or resource_name
    if name not in allowed:
        raise GatewayError(
            f"the setting ray_jobs has no job {name[:64]!r}",
            hint="ray_jobs has the jobs that tasks may run, by name; the form is ray-job://name",
        )
    return name


def function_target(resource_name: str) -> FunctionTarget:
    """Read the name of a function.

    Raises:
        GatewayError: It names no function of a module.
    """
    named = resource_name.partition("://")[2] or resource_name
    match = FUNCTION.fullmatch(named)
    if match is None:
        raise GatewayError(f"{named[:256]!r} names no function", hint=FUNCTION_HINT)
    return FunctionTarget(match["module"], match["function"])


def is_allowed(module: str, allowed: Sequence[str]) -> bool:
    """Tell whether a module is one of those allowed, or is inside one of them."""
    return any(module == each or module.startswith(f"{each}.") for each in allowed)


def refuse_module(target: FunctionTarget, allowed: Sequence[str]) -> None:
    """Make sure that the functions of a module may be called.

    Raises:
        GatewayError: ``ray_modules`` does not name the module.
    """
    if not is_allowed(target.module, allowed):
        raise GatewayError(
            f"the setting ray_modules does not allow the module {target.module}",
            hint=f"ray_modules lists the modules that tasks may call; add {target.module},"
            " or start with `rillflow up --functions FILE.py`",
        )
