"""Who has sent a request, as its API key says: a role, and the workspaces it is limited to.

``middleware/entry.py`` finds out, ``middleware/workspaces.py`` compares what a request names, and
routes that list things ask whether their caller sees them. This module must not know where keys are
kept.

Used by `serve`.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.types import Scope

from rillflow.errors import RequestError
from rillflow.ports.storage.access import Holder
from serve.limits.body_pool import BodySender, is_known
from serve.limits.client_addresses import address_of, is_this_machine
from serve.route_table import ADMINISTER, Needs, Reach, Role, route_of

CALLER: Final = "rillflow.caller"
"""The key of a request's scope under which its ``Caller`` is."""
CHANGE: Final = "rillflow.change"
"""The key of a request's scope under which the ``AuditEntry`` of a change is. A route that reads
from the body what it changes puts a better one there."""
PARAMETERS: Final = frozenset(
    {
        *("execution_id", "executionId", "id", "ids"),
        *("descriptor_id", "service_id", "service_ids", "flow"),
        *("business_id", "business", "business_key"),
    }
)
"""Parameters whose values begin with the name of a workspace."""
_KEY: Final = "key"
_LIMITED: Final = "workspace"
_WORKSPACE: Final = re.compile(r"([a-zA-Z0-9]+)(?:[:_].*)?", re.DOTALL)


class NotAllowedError(RequestError):
    """The role of the caller's key is too low, or the request concerns another workspace."""

    code = "request.not_allowed"
    wire_code = 30108
    http_status = 403


class Caller(NamedTuple):
    """Who has sent a request.

    Attributes:
        name: The name of the key; empty for the key of the settings.
        key_id: The first digits of its hash; empty for the key of the settings.
        role: What the caller may do.
        workspaces: Those that the caller is limited to; none are all.
        holder: The key, if it has a quota.
        audits_submissions: Whether the audit names what the caller submits.
    """

    name: str = ""
    key_id: str = ""
    role: Role = Role.ADMIN
    workspaces: frozenset[str] = frozenset()
    holder: Holder | None = None
    audits_submissions: bool = False

    @property
    def share(self) -> str:
        """In whose fair share its requests count; empty for the key of the settings.

        Keys that are limited to a workspace count together: with many keys it has no more than
        with one.
        """
        if self.workspaces:
            return f"{_LIMITED} {min(self.workspaces)}"
        return f"{_KEY} {self.key_id}" if self.key_id else ""

    def sees(self, business: str) -> bool:
        """Tell whether the caller may see what is in a workspace."""
        return not self.workspaces or business in self.workspaces


ADMIN: Final = Caller()
"""Who has the key of the settings; and everybody, where there is none."""


def caller_of(scope: Scope) -> Caller:
    """Return who has sent a request."""
    caller: Caller = scope.get(CALLER, ADMIN)
    return caller


def sender_of(scope: Scope) -> str:
    """Return in whose fair share a request counts: that of its caller, or of its address."""
    return caller_of(scope).share or address_of(scope)


def share_of(scope: Scope) -> str:
    """Return whose share of limited places a request takes; empty if it may take all places.

    The keys of a workspace have one share, and so have a key that is not limited to workspaces and
    an address without a key. Who has the key of the settings may take all, and so may this machine,
    whose reverse proxy stands for many.
    """
    if share := caller_of(scope).share:
        return share
    return "" if is_known(scope) or is_this_machine(scope) else address_of(scope)


def body_sender(scope: Scope, workspace: str) -> BodySender:
    """Return who sends the body of a request; ``workspace`` is that of what is called back."""
    caller = caller_of(scope)
    own = f"{_KEY} {caller.key_id}" if caller.key_id else address_of(scope)
    if caller.workspaces:
        workspace = min(caller.workspaces)
    return BodySender(f"workspace {workspace}" if workspace else own, own, bool(caller.key_id))


def share_of_places(share: str, most: int, most_of_address: int) -> int:
    """Return how many of so many places a share has: that of a caller is at least a half."""
    if not share:
        return most
    is_caller = share.startswith((_KEY, _LIMITED))
    return max(most // 2, most_of_address) if is_caller else most_of_address


def refuse_role(caller: Caller, path: str) -> None:
    """Refuse a caller whose role is too low for a route.

    Raises:
        NotAllowedError: It is.
    """
    needs = _needs_of(path)
    if caller.role >= needs.role:
        return
    raise NotAllowedError(
        f"this request needs a key with the role {needs.role.word}",
        hint=f"the key {caller.name} has the role {caller.role.word}",
    )


def refuse_other_workspaces(caller: Caller, path: str, query_string: bytes) -> None:
    """Refuse a limited caller whose request concerns more than its workspaces.

    It does not matter whether what is named exists, so nothing can be guessed.

    Raises:
        NotAllowedError: It names another workspace, or none where it must name one, or it concerns
            the whole stack.
    """
    if not caller.workspaces:
        return
    reach = _needs_of(path).reach
    if reach is Reach.STACK:
        raise NotAllowedError(
            "this request concerns the whole stack", hint=_limited(caller, "limited to")
        )
    if reach is Reach.SEEN:
        return
    named = _named(query_string)
    if not named and reach is Reach.NAMED:
        raise NotAllowedError("this request must name a workspace", hint=_limited(caller, "for"))
    if not named <= caller.workspaces:
        raise NotAllowedError(
            "this request names a workspace of others", hint=_limited(caller, "for")
        )


def own_workspace(caller: Caller, business: str | None) -> str | None:
    """Return the workspace of a list that a caller asks for; None is all, if the caller sees all.

    Raises:
        NotAllowedError: It is one of others, or none is named and there are several to choose from.
    """
    if not caller.workspaces:
        return business
    if business is None and len(caller.workspaces) == 1:
        return next(iter(caller.workspaces))
    if business is None:
        raise NotAllowedError(
            "this request must name a workspace, as flow", hint=_limited(caller, "for")
        )
    if business not in caller.workspaces:
        raise NotAllowedError(
            "this request names a workspace of others", hint=_limited(caller, "for")
        )
    return business


def _needs_of(path: str) -> Needs:
    """Return what a path needs; one that the table does not have is left to administrators."""
    route = route_of(path)
    return ADMINISTER if route is None else route.needs


def _named(query_string: bytes) -> frozenset[str]:
    """Return the workspaces that a query names; a text that names none is one of nobody."""
    fields = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    values = (text for name, text in fields if name in PARAMETERS)
    parts = (part.strip() for text in values for part in text.split(","))
    return frozenset(workspace_in(part) for part in parts if part)


def workspace_in(value: str) -> str:
    """Return the workspace with which a name begins; empty if it begins with none."""
    match = _WORKSPACE.fullmatch(value)
    return match[1] if match else ""


def _limited(caller: Caller, how: str) -> str:
    return f"the key {caller.name} is {how} {', '.join(sorted(caller.workspaces))}"
