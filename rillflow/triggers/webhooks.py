"""The settings of a webhook: how its requests are signed, bounded, and made data (ours).

The name of a webhook in its address is the id of its trigger. That of a declared one has a colon
for the slash, which an address cannot have within a name: ``business:feature:alias:name``.

Used by `triggers/trigger_types.py` and `runtime/triggers`.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from rillflow.errors import CronError, LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.secret_references import secret_name
from rillflow.triggers.path_patterns import excess_patterns
from rillflow.triggers.signatures import ALGORITHMS, ENCODINGS, Signature, SignatureKind

FIELDS: Final = (
    "signature",
    "secret",
    "header",
    "prefix",
    "algorithm",
    "encoding",
    "timestamp_header",
    "replay_window_s",
    "delivery_header",
    "max_body_bytes",
    "wait_s",
    "mapping",
)
WINDOW_S: Final = 300
LONGEST_WINDOW_S: Final = 3_600
LONGEST_WAIT_S: Final = 60
MOST_BODY_BYTES: Final = 64 << 20
MOST_PATHS: Final = 50
LONGEST_PATH: Final = 1_000
LONGEST_NAME: Final = 100
LONGEST_PREFIX: Final = 40
LONGEST_HEADER: Final = 100
HIDDEN: Final = frozenset(
    {
        *("authorization", "cookie", "proxy-authorization", "x-rillflow-api-key"),
        *("x-rillflow-session", "x-amz-security-token"),
    }
)
"""Headers that no execution sees, besides those of the signature: they hold credentials."""
STEPS: Final = 200_000
BYTES: Final = 16 << 20
"""What the paths of one request may take."""

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAME: Final = re.compile(r"(?:[A-Za-z0-9]+:)?[A-Za-z0-9][A-Za-z0-9._-]*")
_DECLARED: Final = re.compile(r"([A-Za-z0-9]+:[A-Za-z0-9]+:[A-Za-z0-9]+):([A-Za-z0-9]+)")
_OF_HMAC: Final = ("algorithm", "encoding", "timestamp_header")
_OF_HEADER: Final = ("header", "prefix")
_DELIVERIES: Final = {SignatureKind.GITHUB: "x-github-delivery"}


class Webhook(Signature, frozen=True, kw_only=True, omit_defaults=True):
    """The settings of a webhook, as a store keeps them: its signature, and more.

    Attributes:
        replay_window_s: How long a request counts: after the time that it signs, and as the same
            one if its body is repeated.
        delivery_header: The header with the id of a delivery; empty for that of the scheme.
        max_body_bytes: The limit of a body; 0 is that of the server.
        wait_s: How long a request waits for the end of its execution.
        mapping: Paths in the request, by fields of the context; None takes the body as it is.
    """

    replay_window_s: int = WINDOW_S
    delivery_header: str = ""
    max_body_bytes: int = 0
    wait_s: int = 0
    mapping: dict[str, str] | None = None

    @property
    def header_of_delivery(self) -> str:
        """The header with the id of a delivery; empty if there is none."""
        return self.delivery_header or _DELIVERIES.get(self.scheme, "")


def checked_webhook(given: JsonObject) -> JsonObject:
    """Return the settings of a webhook as they are stored; defaults are left out.

    Raises:
        CronError: One is missing, malformed, unknown, or one of another scheme.
    """
    for name in given:
        if name not in FIELDS:
            raise wrong(name, f"webhook has no field {name[:40]!r}; it has {', '.join(FIELDS)}")
    scheme = _scheme(given.get("signature"))
    _refuse_of_others(given, scheme)
    webhook = Webhook(
        scheme=scheme,
        secret=_secret(given.get("secret"), scheme),
        header=_header(given, "header"),
        prefix=_prefix(given.get("prefix")),
        algorithm=_word(given, "algorithm", ALGORITHMS),
        encoding=_word(given, "encoding", ENCODINGS),
        timestamp_header=_header(given, "timestamp_header"),
        replay_window_s=_whole(given, "replay_window_s", (1, LONGEST_WINDOW_S), WINDOW_S),
        delivery_header=_header(given, "delivery_header"),
        max_body_bytes=_whole(given, "max_body_bytes", (1, MOST_BODY_BYTES), 0),
        wait_s=_whole(given, "wait_s", (0, LONGEST_WAIT_S), 0),
        mapping=_mapping(given.get("mapping")),
    )
    stored = msgspec.to_builtins(webhook)
    return {name: value for name, value in stored.items() if value is not None}


def webhook_of(settings: Mapping[str, JsonValue]) -> Webhook:
    """Read what ``checked_webhook`` has returned.

    Raises:
        msgspec.ValidationError: It is something else.
    """
    return msgspec.convert(settings, Webhook)


def id_of_name(name: str) -> str | None:
    """Return the id of the trigger whose webhook may have a name; None if none may."""
    if len(name) <= LONGEST_NAME and _NAME.fullmatch(name):
        return name
    declared = _DECLARED.fullmatch(name)
    return f"{declared[1]}/{declared[2]}" if declared else None


def path_of(trigger_id: str) -> str:
    """Return the path at which a webhook is called."""
    return f"/flow/hooks/{trigger_id.replace('/', ':')}"


def check_name(trigger_id: str) -> None:
    """Check the id of a trigger that is added by itself and has a webhook.

    It has one colon at most, and names of declared webhooks have three, so nobody takes one of
    those.

    Raises:
        CronError: It is missing or malformed.
    """
    if len(trigger_id) > LONGEST_NAME or not _NAME.fullmatch(trigger_id):
        raise wrong(
            "",
            f"the id of a webhook is its name in the address: 1 to {LONGEST_NAME} letters, digits"
            " and . _ -, which begin with a letter or digit, also after business:",
        )


def context_of(webhook: Webhook, request: JsonObject, context: JsonObject) -> JsonObject:
    """Return the data that a request starts an execution with.

    Args:
        webhook: The settings.
        request: ``headers``, ``query`` and ``body``.
        context: The context of the trigger, which the request is laid over.

    Raises:
        LanguageError: A path cannot be read in this request.
        WorkLimitError: The paths take too much.
    """
    if webhook.mapping is None:
        body = request["body"]
        if body is None:
            return context
        return context | body if isinstance(body, dict) else context | {"body": body}
    budget = TotalBudget(STEPS, BYTES)
    found = {
        field: compile_path(path, budget).find(request, budget)
        for field, path in webhook.mapping.items()
    }
    return context | {field: value for field, value in found.items() if value is not None}


def _scheme(value: JsonValue) -> SignatureKind:
    words = ", ".join(SignatureKind)
    if value is None:
        raise wrong(
            "signature", f"signature is missing: {words}; none lets everybody start executions"
        )
    try:
        return SignatureKind(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise wrong("signature", f"signature is one of {words}, not {str(value)[:40]!r}") from error


def _refuse_of_others(given: JsonObject, scheme: SignatureKind) -> None:
    """Refuse fields of another scheme, which its author believes to count."""
    if scheme is not SignatureKind.HMAC:
        _refuse_given(given, _OF_HMAC, f"is for hmac, not for {scheme}")
    if scheme not in (SignatureKind.HMAC, SignatureKind.TOKEN):
        _refuse_given(given, _OF_HEADER, f"is for hmac and token, not for {scheme}")
    elif given.get("header") is None:
        raise wrong("header", f"header is missing: the name of the header with the {scheme}")
    if scheme is SignatureKind.NONE:
        _refuse_given(given, ("secret",), "counts with a signature only")


def _refuse_given(given: JsonObject, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if given.get(name) is not None:
            raise wrong(name, f"{name} {why}")


def _secret(value: JsonValue, scheme: SignatureKind) -> str:
    if scheme is SignatureKind.NONE:
        return ""
    if not isinstance(value, str) or secret_name(value.strip()) is None:
        raise wrong("secret", "secret must be a reference to a secret: ${secret:NAME}")
    return value.strip()


def _header(given: JsonObject, name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_HEADER or not _HEADER.fullmatch(value):
        raise wrong(name, f"{name} is the name of a header, such as X-Signature")
    return value.lower()


def _prefix(value: JsonValue) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_PREFIX or not value.isprintable():
        raise wrong("prefix", f"prefix is text of up to {LONGEST_PREFIX} characters")
    return value.lstrip()


def _word(given: JsonObject, name: str, words: tuple[str, ...]) -> str:
    value = given.get(name)
    if value is None:
        return words[0]
    if value not in words:
        raise wrong(name, f"{name} is one of {', '.join(words)}")
    return str(value)


def _whole(given: JsonObject, name: str, span: tuple[int, int], default: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    least, most = span
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(name, f"{name} is a whole number from {least} to {most}")
    return value


def _mapping(value: JsonValue) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not 0 < len(value) <= MOST_PATHS:
        raise wrong("mapping", f"mapping has 1 to {MOST_PATHS} fields of the context")
    excess = excess_patterns(value.values())
    if excess:
        raise wrong("mapping", f"mapping: {excess}")
    return {field: _path(path) for field, path in value.items()}


def _path(path: JsonValue) -> str:
    if not isinstance(path, str) or not path.startswith("$") or len(path) > LONGEST_PATH:
        raise wrong("mapping", f"mapping needs paths such as $.body.user, not {str(path)[:80]!r}")
    try:
        compile_path(path)
    except LanguageError as error:
        raise wrong("mapping", f"mapping: {path[:80]!r} is no path: {error}") from error
    return path


def wrong(field: str, reason: str) -> CronError:
    """Return the error about a field of a webhook."""
    error = CronError(reason)
    error.field = f"webhook.{field}" if field else ""
    return error
