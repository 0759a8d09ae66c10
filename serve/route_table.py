"""The table of routes: every path of the HTTP API, the role it needs, and how its body is bounded.

The table answers what a reader of the API, of its access control or of its limits asks first:
which paths exist, which role and which workspace a key needs for them, which are hot, and how
large their bodies may be. It is data only. These modules read it:

- ``middleware/entry.py``: which paths need the API key, are counted under their own names, and for
  which ones HEAD does not stand for GET; ``middleware/signatures.py``: which need a signature;
- ``limits/callers.py``: which role a caller needs; ``middleware/audited_changes.py``: which changes
  are noted;
- ``middleware/browsers.py``: which paths take any ``Host``, and may be linked to;
- ``middleware/form_parameters.py``: which paths take their parameters as a posted form;
- ``limits/body_pool.py``: how many bytes a body may have;
- ``routes/hot.py``: which paths bypass FastAPI;
- ``routes/document.py``: what the OpenAPI document says about access and bodies;
- ``api.py``: which paths bypass Ray Serve (``rillflow/private_apis/ray_serve/shortcut.py``); and it
  refuses to start where the endpoints and the table differ.

``docs/http.md`` shows the table, and a test compares the two. A new route needs a row here first.
This module must not know how a request is handled: it imports no other module of ``serve``.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, IntEnum
from typing import Final, NamedTuple, TypeVar

from rillflow.definition import LARGEST_TEXT_BYTES
from rillflow.errors import RillflowError

Endpoint = TypeVar("Endpoint")

KIBIBYTE: Final = 1024


class Access(Enum):
    """Who may call a route. Without configured credentials, every program may call all of them."""

    KEY = "key, signature"
    """Callers with the API key, where the server has one; and with a signature, where the switch
    ``ENABLE_AUTH_RESOLVER`` is on."""

    SEAL = "seal"
    """Functions, which have neither; their address carries a seal, where ``callback_keys`` are
    set; for artifacts also where there is an API key."""

    WEBHOOK = "signature of the webhook"
    """Whoever signs as the trigger of the webhook says; anybody, where it says none."""

    OPEN = "anybody"
    """Anybody: health checks, and pages that hold no data."""


class Body(NamedTuple):
    """How the body of a request is bounded.

    Attributes:
        name: The name in the documentation.
        meaning: What the body holds.
        largest_bytes: The limit, where it is fixed; 0 where a setting has it, or nothing is read.
        setting: The setting that has the limit; empty where it is fixed.
        business_in: The query parameter that starts with the name of a business, whose own limit
            (``<setting>_by_business``) wins; empty where all businesses have the same.
        too_large_status: HTTP status of the answer to a larger body.
        in_pieces: Whether it is stored while it arrives, so that it is never whole in memory.
    """

    name: str
    meaning: str
    largest_bytes: int = 0
    setting: str = ""
    business_in: str = ""
    too_large_status: int = 400
    in_pieces: bool = False


class Role(IntEnum):
    """What a key may do; each role may do what those before it may."""

    VIEWER = 1
    SUBMITTER = 2
    OPERATOR = 3
    AUTHOR = 4
    ADMIN = 5

    @property
    def word(self) -> str:
        """The role as people write it."""
        return self.name.lower()


class Reach(Enum):
    """What a request concerns, for keys that are limited to workspaces."""

    STACK = "the whole stack"
    """More than workspaces: a key that is limited to some is refused."""

    NAMED = "the workspace that it names"
    """Its parameters must name a workspace, and no other one than the key's."""

    SOME = "what it names"
    """Its parameters need not name a workspace, and must name no other one than the key's."""

    SEEN = "the key's workspaces"
    """It shows what is in workspaces of the key, and leaves out everything else."""


class Needs(NamedTuple):
    """What a key must have for a route.

    Attributes:
        role: The least role.
        reach: What a request concerns.
    """

    role: Role
    reach: Reach


VIEW: Final = Needs(Role.VIEWER, Reach.NAMED)
VIEW_SOME: Final = Needs(Role.VIEWER, Reach.SOME)
VIEW_SEEN: Final = Needs(Role.VIEWER, Reach.SEEN)
VIEW_STACK: Final = Needs(Role.VIEWER, Reach.STACK)
SUBMIT: Final = Needs(Role.SUBMITTER, Reach.NAMED)
OPERATE: Final = Needs(Role.OPERATOR, Reach.NAMED)
OPERATE_SOME: Final = Needs(Role.OPERATOR, Reach.SOME)
AUTHOR: Final = Needs(Role.AUTHOR, Reach.NAMED)
AUTHOR_SOME: Final = Needs(Role.AUTHOR, Reach.SOME)
ADMIN_SEEN: Final = Needs(Role.ADMIN, Reach.SEEN)
ADMINISTER: Final = Needs(Role.ADMIN, Reach.STACK)

NONE: Final = Body("none", "The route does not read a body.")
FORM: Final = Body("form", "The parameters, as an alternative to the query.", 64 * KIBIBYTE)
LOGIN: Final = Body("login", "Read and ignored; any password is accepted.", 64 * KIBIBYTE)
KEY_SHOWN: Final = Body("key", "A JSON object with the API key.", 64 * KIBIBYTE)
DEFINITION: Final = Body("definition", "The text of a definition.", LARGEST_TEXT_BYTES)
DATA: Final = Body("data", "A JSON object.", setting="submit_max_bytes")
QUESTION: Final = Body("question", "A path, an expression or mappings.", 512 * KIBIBYTE)
SUBMISSION: Final = Body(
    "submission",
    "A JSON object: the data of an execution.",
    setting="submit_max_bytes",
    business_in="descriptor_id",
)
SIGNAL: Final = Body(
    "signal",
    "A JSON object for a task or execution.",
    setting="callback_max_bytes",
    business_in="execution_id",
)
CALLBACK: Final = Body(
    "callback",
    "Whatever a function answers: JSON, text, bytes.",
    setting="callback_max_bytes",
    business_in="execution_id",
    too_large_status=413,
)
EVENT: Final = Body(
    "event",
    "What another system tells: JSON, a form, text; a webhook may have a lower limit.",
    setting="submit_max_bytes",
    too_large_status=413,
)

ARTIFACT: Final = Body(
    "artifact",
    "The bytes of an artifact.",
    setting="artifact_max_bytes",
    too_large_status=413,
    in_pieces=True,
)

BODIES: Final = (
    *(NONE, FORM, LOGIN, KEY_SHOWN, DEFINITION, DATA, QUESTION, SUBMISSION, SIGNAL, CALLBACK),
    *(EVENT, ARTIFACT),
)


class Route(NamedTuple):
    """A path of the API, with what holds for all of its methods.

    Attributes:
        methods: HTTP methods, separated by a space.
        path: The whole path; its last part may be the name of a parameter, as in ``/files/{name}``.
        access: Who may call it.
        body: How its body is bounded.
        needs: What a key must have, where one is needed.
        hot: The steps of workflows call it, so it bypasses FastAPI and Ray Serve.
        health: A health check. It bypasses Ray Serve however many other requests are in progress.
        any_host: Without a key it is answered whatever its ``Host`` says. Functions and load
            balancers call by names that the server does not know. A callback needs the id of an
            execution, which nobody can guess.
        linked: Without a key, a link on a page of another site may lead here: pages without
            data, and the addresses of suspense tasks.
        own_pages: Only pages of this server may call it, since it changes what their browser keeps.
        changed_by_get: A GET changes something, so HEAD does not stand for it.
    """

    methods: str
    path: str
    access: Access
    body: Body = NONE
    needs: Needs = ADMINISTER
    hot: bool = False
    health: bool = False
    any_host: bool = False
    linked: bool = False
    own_pages: bool = False
    changed_by_get: bool = False


KEY: Final = Access.KEY
SEAL: Final = Access.SEAL
OPEN: Final = Access.OPEN
WEBHOOK: Final = Access.WEBHOOK

ROUTES: Final = (
    # Executions: start, read, and what functions report.
    Route("POST", "/flow/submit.json", KEY, SUBMISSION, needs=SUBMIT, hot=True),
    Route("GET", "/flow/get.json", KEY, needs=VIEW, hot=True),
    Route("POST", "/flow/finish.json", KEY, SIGNAL, needs=SUBMIT, hot=True),
    Route(
        "GET POST",
        "/flow/trigger.json",
        SEAL,
        CALLBACK,
        hot=True,
        any_host=True,
        linked=True,
        changed_by_get=True,
    ),
    Route("GET", "/flow/get_by_parent.json", KEY, needs=VIEW),
    Route("GET", "/flow/get_context.json", KEY, needs=VIEW),
    Route("GET", "/flow/get_sub_context.json", KEY, needs=VIEW),
    Route("GET", "/flow/logs.json", KEY, needs=VIEW),
    Route("POST", "/flow/artifacts", SEAL, ARTIFACT, any_host=True),
    Route("GET", "/flow/artifacts/{sha256}", SEAL, needs=VIEW),
    # Executions: control.
    Route("POST", "/flow/wakeup.json", KEY, SIGNAL, needs=SUBMIT),
    Route("POST", "/flow/redo.json", KEY, SIGNAL, needs=OPERATE),
    Route("POST", "/flow/multi_redo.json", KEY, FORM, needs=OPERATE),
    Route("POST", "/flow/task_degrade.json", KEY, FORM, needs=OPERATE),
    Route("POST", "/flow/complete.json", KEY, FORM, needs=OPERATE),
    Route("POST", "/flow/cancel.json", KEY, FORM, needs=OPERATE),
    Route("POST", "/flow/pause.json", KEY, FORM, needs=OPERATE),
    Route("POST", "/flow/resume.json", KEY, FORM, needs=OPERATE),
    # Definitions and the rules that choose among them.
    Route("POST", "/flow/bg/manage/descriptor/add_descriptor.json", KEY, DEFINITION, needs=AUTHOR),
    Route("GET POST", "/flow/bg/manage/descriptor/get_descriptor.json", KEY, DATA, needs=VIEW),
    Route("GET", "/flow/bg/manage/descriptor/get_version.json", KEY, needs=VIEW),
    Route("GET", "/flow/bg/manage/descriptor/get_business.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/bg/manage/descriptor/get_feature.json", KEY, needs=VIEW),
    Route("GET", "/flow/bg/manage/descriptor/get_alias.json", KEY, needs=VIEW),
    Route("POST", "/flow/bg/manage/descriptor/modify_business.json", KEY, FORM, needs=AUTHOR),
    Route("POST", "/flow/bg/manage/descriptor/modify_feature.json", KEY, FORM, needs=AUTHOR),
    Route("POST", "/flow/bg/manage/descriptor/modify_alias.json", KEY, FORM, needs=AUTHOR),
    Route("POST", "/flow/bg/manage/descriptor/modify_gray.json", KEY, FORM, needs=AUTHOR),
    Route("GET", "/flow/bg/manage/descriptor/get_gray.json", KEY, needs=VIEW),
    Route("POST", "/flow/bg/manage/descriptor/modify_function_ab.json", KEY, FORM, needs=AUTHOR),
    Route("GET", "/flow/bg/manage/descriptor/get_function_ab.json", KEY, needs=VIEW),
    Route("GET", "/flow/bg/manage/descriptor/get_ab_key.json", KEY, needs=VIEW),
    # Tools for authors of definitions.
    Route("POST", "/flow/validate.json", KEY, DEFINITION, needs=AUTHOR_SOME),
    Route("POST", "/flow/convert.json", KEY, DEFINITION, needs=AUTHOR_SOME),
    Route("GET POST", "/flow/dependency_check.json", KEY, DEFINITION, needs=AUTHOR_SOME),
    Route("POST", "/flow/mapping_evaluation.json", KEY, DATA, needs=AUTHOR_SOME),
    Route("POST", "/flow/function_dispatch_params.json", KEY, DATA, needs=AUTHOR_SOME),
    # Load, limits and busy functions.
    Route("GET", "/flow/cluster.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/event_loops.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/gateways.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/status/check.json", KEY, needs=VIEW),
    Route("GET", "/flow/runtime_dependent_resources.json", KEY, needs=VIEW),
    Route("POST", "/flow/clear_runtime_resources.json", KEY, FORM, needs=OPERATE),
    # Triggers: Rill Flow's, and ours. What they name besides, the routes themselves compare.
    Route("POST", "/flow/trigger/add_trigger.json", KEY, DATA, needs=AUTHOR),
    Route("POST", "/flow/trigger/cancel_trigger.json", KEY, FORM, needs=AUTHOR_SOME),
    Route("GET", "/flow/trigger/get_trigger_tasks.json", KEY, needs=VIEW_SEEN),
    Route("POST", "/flow/triggers/add.json", KEY, DATA, needs=AUTHOR_SOME),
    Route("GET", "/flow/triggers/list.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/triggers/show.json", KEY, needs=VIEW_SOME),
    Route("POST", "/flow/triggers/remove.json", KEY, FORM, needs=AUTHOR_SOME),
    Route("POST", "/flow/triggers/pause.json", KEY, FORM, needs=OPERATE_SOME),
    Route("POST", "/flow/triggers/resume.json", KEY, FORM, needs=OPERATE_SOME),
    Route("POST", "/flow/triggers/fire.json", KEY, FORM, needs=OPERATE_SOME),
    Route("POST", "/flow/triggers/backfill.json", KEY, FORM, needs=OPERATE_SOME),
    Route("POST", "/flow/hooks/{name}", WEBHOOK, EVENT, any_host=True),
    # Lists and counts.
    Route("GET", "/flow/get_execution_ids.json", KEY, needs=VIEW),
    Route("GET", "/flow/get_execution_count.json", KEY, needs=VIEW),
    Route("GET", "/flow/business_heap_monitor.json", KEY, needs=VIEW),
    Route("GET", "/flow/business_invoke_summary.json", KEY, needs=VIEW),
    # The API of the console.
    Route("GET", "/flow/console/v1/executions.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/console/v1/counts.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/console/v1/summaries.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/execution.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/graph.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/items.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/task.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/context.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/waits.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/events.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/event.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/changes.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/writes.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/timeline.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/trace.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/executions.stream", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/console/v1/execution.stream", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/workspaces.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/console/v1/versions.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/version_counts.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/definition.json", KEY, needs=VIEW),
    Route("GET", "/flow/console/v1/diff.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/console/v1/uses.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/console/v1/language.schema.json", KEY, needs=VIEW_SOME),
    Route("GET", "/flow/console/v1/operations.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/console/v1/minutes.json", KEY, needs=VIEW_STACK),
    Route("GET", "/flow/console/v1/firings.json", KEY, needs=VIEW_SOME),
    Route("GET", "/flow/console/v1/rules.json", KEY, needs=VIEW),
    Route("POST", "/flow/console/v1/evaluate.json", KEY, QUESTION, needs=VIEW),
    Route("POST", "/flow/console/v1/draft.json", KEY, DEFINITION, needs=AUTHOR_SOME),
    Route("POST", "/flow/console/v1/dry_run.json", KEY, DATA, needs=AUTHOR_SOME),
    # Rill Flow's web console.
    Route("GET", "/flow/bg/get_descriptor.json", KEY, needs=VIEW),
    Route("GET", "/flow/bg/get_descriptor_ids.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/bg/get_business_options.json", KEY, needs=VIEW_SEEN),
    Route("GET", "/flow/bg/get_execution_ids.json", KEY, needs=VIEW),
    Route("GET", "/flow/bg/get_execution.json", KEY, needs=VIEW),
    Route("POST", "/flow/bg/user/login.json", KEY, LOGIN, needs=VIEW_SOME),
    Route("GET", "/flow/bg/user/currentUser.json", KEY, needs=VIEW_SOME),
    Route("GET", "/flow/template/get_meta_data_list.json", KEY, needs=VIEW_SOME),
    Route("GET", "/flow/template/get_task_templates.json", KEY, needs=VIEW_SOME),
    Route("GET", "/flow/template/get_template_prototypes.json", KEY, needs=VIEW_SOME),
    Route("POST", "/flow/template/create_task_template.json", KEY, DATA),
    Route("POST", "/flow/template/update_task_template.json", KEY, DATA),
    Route("POST", "/flow/template/enable_task_template.json", KEY, FORM),
    Route("POST", "/flow/template/disable_task_template.json", KEY, FORM),
    # Always refused, or nearly nothing; Rill Flow has them.
    Route("GET POST", "/flow/customized/storage/init_bucket.json", KEY, DATA),
    Route("GET POST", "/flow/customized/storage/store.json", KEY, DATA),
    Route("GET POST", "/flow/customized/storage/load.json", KEY, DATA),
    Route("GET POST", "/flow/customized/storage/remove_bucket.json", KEY, DATA),
    Route("GET POST", "/flow/customized/storage/remove_element.json", KEY, DATA),
    Route("GET", "/flow/dag/details.json", KEY, needs=VIEW),
    # The console.
    Route("GET", "/", OPEN, linked=True),
    Route("GET", "/console", OPEN, linked=True),
    Route("GET", "/console/files/{name}", OPEN),
    Route("GET", "/console/session", OPEN),
    Route("POST", "/console/sign-in", OPEN, KEY_SHOWN, own_pages=True),
    Route("POST", "/console/sign-out", OPEN, own_pages=True),
    # API keys.
    Route("POST", "/flow/keys/add.json", KEY, FORM),
    Route("GET", "/flow/keys/list.json", KEY),
    Route("POST", "/flow/keys/revoke.json", KEY, FORM),
    Route("GET", "/flow/audit.json", KEY, needs=ADMIN_SEEN),
    # Telemetry.
    Route("GET", "/metrics", KEY, needs=VIEW_SEEN),
    Route("GET", "/actuator/prometheus", KEY, needs=VIEW_SEEN),
    Route("GET", "/actuator/metrics", KEY, needs=VIEW_SEEN),
    # Health, and the description of the API.
    Route("GET", "/healthz", OPEN, health=True, any_host=True),
    Route("GET", "/readyz", OPEN, health=True, any_host=True),
    Route("GET", "/flow/service_check.json", OPEN, health=True),
    Route("GET", "/docs", OPEN, linked=True),
    Route("GET", "/swagger-ui.html", OPEN, linked=True),
    Route("GET", "/openapi.json", KEY, needs=VIEW_SOME),
)
"""All routes. A path that is not here is answered 404, to callers with credentials."""

BY_PATH: Final = {route.path: route for route in ROUTES}
_BY_FOLDER: Final = {
    route.path.rpartition("/")[0]: route for route in ROUTES if route.path.endswith("}")
}


class RouteTableError(RillflowError):
    """The endpoints of the program and the table of routes differ: a defect of the program."""

    code = "route_table"


def route_of(path: str) -> Route | None:
    """Return the row of a path, None if no route has it."""
    return BY_PATH.get(path) or _BY_FOLDER.get(path.rpartition("/")[0])


def paths_where(holds: Callable[[Route], bool]) -> frozenset[str]:
    """Return the paths of the routes for which a predicate holds, for one look-up a request."""
    return frozenset(route.path for route in ROUTES if holds(route))


def folders_where(holds: Callable[[Route], bool]) -> frozenset[str]:
    """Return the folders of the routes for which a predicate holds, and that end in a parameter."""
    return frozenset(path.rpartition("/")[0] for path in paths_where(holds) if path.endswith("}"))


def hot_endpoints(by_path: Mapping[str, Endpoint]) -> dict[tuple[str, str], Endpoint]:
    """Return the endpoints of the hot routes by method and path.

    Raises:
        RouteTableError: Other paths than those of ``by_path`` are hot in the table.
    """
    hot = [route for route in ROUTES if route.hot]
    if by_path.keys() != {route.path for route in hot}:
        raise RouteTableError(f"the hot endpoints are not those of {__name__}: {sorted(by_path)}")
    return {(method, route.path): by_path[route.path] for route in hot for method in methods(route)}


def check_endpoints(endpoints: Iterable[tuple[str, str]]) -> None:
    """Check the methods and paths of all endpoints against the table.

    Raises:
        RouteTableError: One is not in the table, or one of the table is missing.
    """
    found = set(endpoints)
    listed = {(method, route.path) for route in ROUTES for method in methods(route)}
    if unlisted := sorted(found - listed):
        raise RouteTableError(f"these routes have no row in {__name__}.ROUTES: {_named(unlisted)}")
    if missing := sorted(listed - found):
        raise RouteTableError(
            f"these rows of {__name__}.ROUTES have no endpoint: {_named(missing)}"
        )


def methods(route: Route) -> list[str]:
    """Return the methods of a route."""
    return route.methods.split()


def _named(endpoints: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{method} {path}" for method, path in endpoints)
