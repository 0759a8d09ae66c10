"""The settings of a Kafka trigger: its brokers, topic and group, and what it makes of a record.

Used by `triggers/trigger_types.py`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from rillflow.errors import CronError, LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.secret_references import secret_name
from rillflow.triggers.path_patterns import excess_patterns

FORMATS: Final = ("json", "text", "bytes")
RESETS: Final = ("earliest", "latest")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
FIELDS: Final = (
    "brokers",
    "topic",
    "group",
    "offset_reset",
    "key_format",
    "value_format",
    "mapping",
    "filters",
    "dead_letter_topic",
    "tls",
    "sasl_mechanism",
    "user",
    "password",
)
MOST_BROKERS: Final = 20
MOST_PATHS: Final = 50
LONGEST_PATH: Final = 1_000
LONGEST_NAME: Final = 249
LONGEST_GROUP: Final = 255
DEFAULT_PORT: Final = 9092
DEFAULT_GROUP: Final = "rillflow-"
"""What the group of a trigger begins with that names none; its id follows."""
RILL_FLOW_FIELDS: Final = ("kafka_server", "group_id", "topic")

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NAME: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\]")


def checked_kafka(given: JsonObject) -> JsonObject:
    """Return the settings of a Kafka trigger as they are stored; fields without a value are left.

    Raises:
        CronError: One is missing, malformed or unknown.
    """
    for name in given:
        if name not in FIELDS:
            raise _wrong(name, f"kafka has no field {name[:40]!r}; it has {', '.join(FIELDS)}")
    settings: JsonObject = {
        "brokers": [*_brokers(given.get("brokers"))],
        "topic": _topic(given.get("topic"), "topic"),
        "group": _group(given.get("group")),
        "offset_reset": _word(given, "offset_reset", RESETS, "earliest"),
        "key_format": _word(given, "key_format", FORMATS, "text"),
        "value_format": _word(given, "value_format", FORMATS, "json"),
        "mapping": _mapping(given.get("mapping")),
        "filters": _filters(given.get("filters")),
        "tls": _flag(given, "tls"),
        **_sasl(given),
    }
    dead_letters = given.get("dead_letter_topic")
    if dead_letters is not None:
        settings["dead_letter_topic"] = _topic(dead_letters, "dead_letter_topic")
        if dead_letters == settings["topic"]:
            raise _wrong("dead_letter_topic", "dead_letter_topic must not be the topic itself")
    return {name: value for name, value in settings.items() if value not in (None, {}, False)}


def rill_flow_settings(body: Mapping[str, JsonValue]) -> JsonObject | None:
    """Return the settings for a body in Rill Flow's form; None if a field of it is missing.

    Raises:
        CronError: A field is malformed.
    """
    given = [body.get(name) for name in RILL_FLOW_FIELDS]
    if not all(isinstance(each, str) and each.strip() for each in given):
        return None
    server, group, topic = given
    return checked_kafka({"brokers": server, "group": group, "topic": topic})


def rill_flow_details(settings: Mapping[str, Any]) -> JsonObject:
    """Return the settings in Rill Flow's form."""
    return {
        "kafka_server": ",".join(settings["brokers"]),
        "group_id": settings.get("group", ""),
        "topic": settings["topic"],
    }


def default_group(trigger_id: str) -> str:
    """Return the consumer group of a trigger that names none."""
    return f"{DEFAULT_GROUP}{trigger_id}"


def _brokers(value: JsonValue) -> list[str]:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_BROKERS:
        raise _wrong("brokers", f"brokers are 1 to {MOST_BROKERS} addresses: host:port, host:port")
    return [_broker(each) for each in texts]


def _broker(value: JsonValue) -> str:
    text = value.strip() if isinstance(value, str) else ""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_536
    if not _HOST.fullmatch(host) or not is_port:
        raise _wrong("brokers", f"{text[:80]!r} is no address of a broker, such as kafka-1:9092")
    return f"{host}:{port}"


def _topic(value: JsonValue, name: str) -> str:
    topic = value.strip() if isinstance(value, str) else ""
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise _wrong(name, f"{name} has 1 to {LONGEST_NAME} letters, digits and . _ -")
    return topic


def _group(value: JsonValue) -> str | None:
    if value is None:
        return None
    group = value.strip() if isinstance(value, str) else ""
    if not 0 < len(group) <= LONGEST_GROUP or not group.isprintable():
        raise _wrong("group", f"group is the name of a group, with up to {LONGEST_GROUP} letters")
    return group


def _word(given: JsonObject, name: str, words: tuple[str, ...], default: str) -> str:
    value = given.get(name)
    if value is None:
        return default
    if value not in words:
        raise _wrong(name, f"{name} is one of {', '.join(words)}")
    return str(value)


def _flag(given: JsonObject, name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, f"{name} must be true or false")
    return bool(value)


def _mapping(value: JsonValue) -> JsonObject | None:
    """Check the paths of fields of the context, by the names of the fields."""
    members = _members(value, "mapping")
    _check_paths(members.values(), "mapping")
    return members


def _filters(value: JsonValue) -> JsonObject | None:
    """Check the values that paths must have, by the paths."""
    members = _members(value, "filters")
    _check_paths(members, "filters")
    return members


def _members(value: JsonValue, name: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_PATHS:
        raise _wrong(name, f"{name} has up to {MOST_PATHS} fields")
    return value


def _check_paths(paths: Collection[JsonValue], name: str) -> None:
    excess = excess_patterns(paths)
    if excess:
        raise _wrong(name, f"{name}: {excess}")
    for path in paths:
        _check_path(path, name)


def _check_path(path: JsonValue, name: str) -> None:
    if not isinstance(path, str) or not path.startswith("$") or len(path) > LONGEST_PATH:
        raise _wrong(name, f"{name} needs paths such as $.value.user, not {str(path)[:80]!r}")
    try:
        compile_path(path)
    except LanguageError as error:
        raise _wrong(name, f"{name}: {path[:80]!r} is no path: {error}") from error


def _sasl(given: JsonObject) -> JsonObject:
    user, password = given.get("user"), given.get("password")
    mechanism = _word(given, "sasl_mechanism", MECHANISMS, "SCRAM-SHA-512")
    if user is None and password is None:
        if given.get("sasl_mechanism") is not None:
            raise _wrong("sasl_mechanism", "sasl_mechanism needs user and password")
        return {}
    if not isinstance(user, str) or not 0 < len(user) <= LONGEST_GROUP:
        raise _wrong("user", "user is the name that goes with the password")
    if not isinstance(password, str) or secret_name(password) is None:
        raise _wrong("password", "password must be a reference to a secret: ${secret:NAME}")
    if mechanism == "PLAIN" and not given.get("tls"):
        reason = "PLAIN sends the password as it is: set tls, or use SCRAM-SHA-512"
        raise _wrong("sasl_mechanism", reason)
    return {"sasl_mechanism": mechanism, "user": user, "password": password}


def _wrong(field: str, reason: str) -> CronError:
    error = CronError(reason)
    error.field = f"kafka.{field}"
    return error
