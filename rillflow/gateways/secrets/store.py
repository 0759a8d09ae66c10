"""The secrets of this process, and the calls that use them.

``${secret:NAME}`` is the environment variable ``RILLFLOW_SECRET_NAME``, or else the file ``NAME``
in the folder of the settings. Both are read at each call, so a changed secret is used from the next
call on.

Used by `gateways/registry.py`, `runtime/triggers` and `serve/routes`.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from msgspec.structs import replace

from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import given_host, read_input, split_input
from rillflow.gateways.http_client.request_head import origin_of
from rillflow.gateways.outbound.targets import HTTP_SCHEMES, effective_protocol, http_target
from rillflow.gateways.outbound.threads import SHORT_BYTES, in_turn
from rillflow.gateways.secrets.masks import Mask
from rillflow.jsontypes import JsonValue, encode_json
from rillflow.language.mapping.secret_references import Keys, replace_references
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

VARIABLE: Final = "RILLFLOW_SECRET_"
NO_SECRET: Final = "HOSTS"  # noqa: S105 - a name
"""``RILLFLOW_SECRET_HOSTS`` is the setting ``secret_hosts``, not a secret."""
FRESH_S: Final = 5.0
"""How long the list of all secrets is cached."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Secrets:
    """Finds secrets by name."""

    def __init__(
        self,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        hosts: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._folder = folder
        self._hosts = hosts or {}
        self._environment = os.environ if environment is None else environment

    def value(self, name: str) -> str:
        """Return a secret, without the line break at the end of its file.

        Raises:
            GatewayError: There is none of this name, or it is empty or not text.
        """
        value = self._from_environment(name) or self._from_file(name)
        if not value:
            places = f"the environment variable {VARIABLE}{name}"
            if self._folder is not None:
                places += f" or the file {name} in secrets_dir"
            raise GatewayError(f"the secret {name} is not known here: it is missing in {places}")
        return value

    def refuse_place(self, name: str, place: str) -> None:
        """Check that a secret may be sent to a place.

        Args:
            name: The secret's.
            place: ``host:port``, or the protocol of a plugin or language model.

        Raises:
            GatewayError: ``secret_hosts`` names other places for it.
        """
        allowed = self._hosts.get(name)
        if allowed is not None and not any(is_at(place, each) for each in allowed):
            raise GatewayError(
                f"the secret {name} may not be sent to {place}",
                hint=f"secret_hosts has the hosts that {name} may be sent to",
            )

    def unbounded(self) -> list[str]:
        """Return the names of the secrets that may be sent to any host, sorted."""
        return sorted(self.known().keys() - self._hosts.keys())

    def known(self) -> dict[str, str]:
        """Return all secrets that this process can read, by name."""
        names = {
            name.removeprefix(VARIABLE)
            for name in self._environment
            if name.startswith(VARIABLE) and name != f"{VARIABLE}{NO_SECRET}"
        }
        if self._folder is not None:
            with contextlib.suppress(OSError):  # a folder that others may read tells us nothing
                files = {path.name for path in self._folder.iterdir()}
                names |= set(filter(_NAME.fullmatch, files))
        found = {}
        for name in names:
            with contextlib.suppress(GatewayError):
                found[name] = self.value(name)
        return found

    def _from_environment(self, name: str) -> str:
        return "" if name == NO_SECRET else self._environment.get(f"{VARIABLE}{name}", "")

    def _from_file(self, name: str) -> str:
        if self._folder is None:
            return ""
        try:
            return (self._folder / name).read_text(encoding="utf-8").rstrip("\r\n")
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise GatewayError(f"the file of the secret {name} cannot be read") from error


def unbounded_warning(name: str) -> str:
    """Return the warning that a secret may be sent to any host, and how to restrict it."""
    return (
        f"any definition may send the secret {name} to any host; secret_hosts bounds it:"
        f' secret_hosts = {{ {name} = "api.example.com" }}'
    )


class SecretCall:
    """One call with the secrets that it needs, if any.

    Attributes:
        request: The attempt as it is sent.
        mask: The mask of the secrets that are sent.

    Raises:
        GatewayError: A secret is unknown.
    """

    def __init__(self, request: DispatchRequest, secrets: Secrets) -> None:
        self._secrets = secrets
        self._used: dict[str, str] = {}
        self.request = self._filled(request) if request.secrets else request
        self.mask = Mask(self._used)

    def masked(self, answer: DispatchAnswer) -> DispatchAnswer:
        """Return an answer without the secrets, and without the seal, that were sent."""
        return masked_answer(answer, self.mask) if self._used else unsealed_answer(answer)

    def _filled(self, request: DispatchRequest) -> DispatchRequest:
        fields: JsonValue = read_input(request)
        name = request.resource_name
        for keys in request.secrets:
            if keys:
                fields = self._with_secret(fields, keys)
            else:
                name = replace_references(name, lambda known: quote(self._secret(known), safe=""))
        filled = replace(request, resource_name=name, input=encode_json(fields))
        try:
            for place in _places_of(filled, fields):
                for used in self._used:
                    self._secrets.refuse_place(used, place)
        except GatewayError as error:
            # A refusal names the secret as the definition does.
            mask = Mask(self._used)
            raise GatewayError(mask.text(str(error)), hint=mask.text(error.hint)) from None
        return filled

    def _with_secret(self, value: JsonValue, keys: Keys) -> JsonValue:
        """Return a value with the references at one place replaced; only its path is copied."""
        if not keys:
            return replace_references(value, self._secret) if isinstance(value, str) else value
        first, rest = keys[0], keys[1:]
        if isinstance(value, dict) and isinstance(first, str):
            return {**value, first: self._with_secret(value[first], rest)}
        if isinstance(value, list) and isinstance(first, int):
            return [
                self._with_secret(element, rest) if index == first else element
                for index, element in enumerate(value)
            ]
        return value

    def _secret(self, name: str) -> str:
        if name not in self._used:
            self._used[name] = self._secrets.value(name)
        return self._used[name]


def _places_of(request: DispatchRequest, fields: JsonValue) -> tuple[str, ...]:
    """Return the destinations of a call: ``host:port``, or the protocol if it is not HTTP.

    A server may lead on by the ``Host`` that the input gives, so that is a destination as well.

    Raises:
        GatewayError: Its address, or its ``Host``, is not valid for HTTP.
    """
    protocol = effective_protocol(request.resource_name, request.resource_protocol)
    if request.resource is not None or protocol not in HTTP_SCHEMES:
        return (protocol,)
    origin = origin_of(http_target(request.resource_name, request.resource_protocol).origin)
    place = f"{origin.host}:{origin.port}"
    parts = split_input(request, fields) if isinstance(fields, dict) else None
    given = parts and given_host(parts.headers)
    return (place,) if not given else (place, f"{given.name}:{given.port or origin.port}")


def is_at(place: str, allowed: str) -> bool:
    """Tell whether ``host:port`` matches ``host``, ``host:port`` or ``*.suffix``."""
    place, allowed = place.lower(), allowed.lower()
    host = place.rpartition(":")[0] or place
    if allowed.startswith("*."):
        return host.rstrip(".").endswith(allowed[1:])
    return allowed in (place, host, host.rstrip("."))


def masked_answer(answer: DispatchAnswer, mask: Mask) -> DispatchAnswer:
    """Return an answer in which secrets are replaced by references."""
    return replace(
        answer,
        body=mask.body(answer.body),
        error=mask.message(answer.error),
        hint=mask.message(answer.hint),
        poll_url=mask.message(answer.poll_url),
    )


async def masked_in_turn(answer: DispatchAnswer, mask: Mask) -> DispatchAnswer:
    """Return an answer as ``masked_answer`` does, beside the event loop if that takes long."""
    return await in_turn(
        answer.execution_id,
        _size_of(answer),
        lambda: masked_answer(answer, mask),
        is_long=takes_long(answer, mask),
    )


def takes_long(answer: DispatchAnswer, mask: Mask) -> bool:
    """Tell whether to mask an answer takes long though it is short; see ``Mask.takes_long``."""
    if _size_of(answer) > SHORT_BYTES:
        return False
    texts = (answer.error, answer.hint, answer.poll_url)
    told = "\n".join(text for text in texts if text)
    return mask.takes_long((answer.body or b"") + told.encode("utf-8", "surrogatepass"))


def _size_of(answer: DispatchAnswer) -> int:
    texts = (answer.body, answer.error, answer.hint, answer.poll_url)
    return sum(len(text) for text in texts if text)


def unsealed_answer(answer: DispatchAnswer) -> DispatchAnswer:
    """Return an answer without the seal of a callback address that it repeats."""
    if b"seal" not in (answer.body or b"") and not answer.error:
        return answer
    mask = Mask({})
    return replace(answer, body=mask.body(answer.body), error=mask.message(answer.error))


class KnownSecrets:
    """Masks texts that do not belong to a known call, by all secrets of this process."""

    def __init__(self, secrets: Secrets, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._read_s = float("-inf")
        self._mask = Mask(secrets.known())

    def mask(self) -> Mask:
        """Return the mask of the secrets, at most a few seconds old."""
        now_s = self._clock.monotonic_s()
        if now_s - self._read_s > FRESH_S:
            self._mask = Mask(self._secrets.known())
            self._read_s = now_s
        return self._mask
