"""Language models with built-in protocols: ``chatgpt`` and ``aliyun_ai`` (spec 4.7).

`registry.py` registers them. They use the connections of the HTTP gateway, so its limits, egress
rules and circuits apply. The request contains the question and the key, and nothing else of the
execution.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec.structs import replace

from rillflow.errors import GatewayError
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.http.requests import JSON, call_id, read_input, text_of
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.targets import parse_http_url
from rillflow.gateways.outbound.threads import in_turn
from rillflow.gateways.secrets.key_masks import LONGEST_KEY, KeyMasks
from rillflow.gateways.secrets.store import masked_in_turn
from rillflow.ids import workspace_of
from rillflow.jsontypes import JsonObject, JsonValue, decode_untrusted_json, encode_json
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, failed
from rillflow.telemetry.trace_context import HEADER as TRACEPARENT

SYNC: Final = "task_sync"
LATER: Final = ("task_async", "task_scheduler")

_KEY: Final = re.compile(r"[\x21-\x7e]+")


class LanguageModel(NamedTuple):
    """One protocol.

    ``text_key`` names the input that is the question, between those of ``<text_key>_prefix`` and
    ``<text_key>_suffix``. ``question`` makes the body from a model's name and the text; ``output``
    the output of a synchronous task from the answer.
    """

    name: str
    path: str
    text_key: str
    default_model: str
    patterns: tuple[str, ...]
    question: Callable[[str, str], JsonObject]
    output: Callable[[JsonObject], JsonObject]

    def body(self, said: JsonObject, pattern: str) -> JsonObject:
        """Return what a task gets of the model's answer: a callback's body, or the output."""
        if pattern in LATER:
            return {"result_type": "SUCCESS", "result": said}
        return self.output(said)


def _messages(text: str) -> list[JsonValue]:
    return [{"role": "user", "content": text}]


def _chat_question(model: str, text: str) -> JsonObject:
    return {"model": model, "messages": _messages(text)}


def _chat_output(answer: JsonObject) -> JsonObject:
    """Return the answer as it is, and again in the form of Rill Flow's manual (spec Q39)."""
    return {**answer, "result": answer}


def _generation_question(model: str, text: str) -> JsonObject:
    return {
        "model": model,
        "input": {"messages": _messages(text)},
        "parameters": {"result_format": "text"},
    }


def _generation_output(answer: JsonObject) -> JsonObject:
    """Return the answer; the id of the request also has the name that the vendor's SDK uses."""
    return {**answer, "requestId": answer.get("requestId", answer.get("request_id"))}


CHATGPT: Final = LanguageModel(
    name="chatgpt",
    path="/chat/completions",
    text_key="prompt",
    default_model="gpt-3.5-turbo",
    patterns=(SYNC, *LATER),
    question=_chat_question,
    output=_chat_output,
)
ALIYUN_AI: Final = LanguageModel(
    name="aliyun_ai",
    path="/services/aigc/text-generation/generation",
    text_key="message",
    default_model="qwen-plus",
    patterns=(SYNC,),
    question=_generation_question,
    output=_generation_output,
)


MODELS: Final = {model.name: model for model in (CHATGPT, ALIYUN_AI)}


class LanguageModelGateway:
    """Calls a language model; the answer of an asynchronous task is its outcome at once."""

    def __init__(
        self, model: LanguageModel, base_url: str, http: HttpGateway, masks: KeyMasks
    ) -> None:
        self._model = model
        self._base_url = base_url
        self._http = http
        self._masks = masks

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; no answer and no message contains the key."""
        try:
            key, call = await in_turn(
                request.execution_id, len(request.input), lambda: self._built(request)
            )
        except GatewayError as error:
            return failed(request, f"{HANDLE_FAILS}{error}")
        # No callback follows, so the task's own time-out is that of the call.
        mask = await self._masks.of(key, workspace_of(request.execution_id))
        answer = await self._http.call(replace(request, pattern=SYNC), call)
        size_bytes = len(answer.body or b"") + len(answer.error or "")
        answer = replace(await masked_in_turn(answer, mask), poll_url=None)
        if answer.error is not None:
            return answer
        return await in_turn(
            request.execution_id, size_bytes, lambda: self._understood(request, answer)
        )

    async def close(self) -> None:
        """Do nothing: the connections belong to the HTTP gateway."""

    def _built(self, request: DispatchRequest) -> tuple[str, HttpCall]:
        """Return the key of an attempt, and the call with it."""
        fields = self._fields(request)
        key = self._key(fields)
        return key, self._call_of(request, key, fields)

    def _fields(self, request: DispatchRequest) -> JsonObject:
        patterns = self._model.patterns
        if request.pattern not in patterns:
            known = " or ".join(patterns)
            raise GatewayError(f"{self._model.name} is called with the pattern {known}")
        fields = read_input(request)
        if not fields:
            raise GatewayError("parameters is empty")
        return fields

    def _key(self, fields: JsonObject) -> str:
        key = _text(fields, "apikey").strip()
        if not key:
            raise GatewayError("apikey is empty")
        if len(key) > LONGEST_KEY:
            raise GatewayError(f"apikey has more than {LONGEST_KEY} characters")
        if not _KEY.fullmatch(key):
            raise GatewayError("apikey is not one word of visible ASCII characters")
        return key

    def _call_of(self, request: DispatchRequest, key: str, fields: JsonObject) -> HttpCall:
        asked = self._model.text_key
        if not _text(fields, asked):
            raise GatewayError(f"{asked} is empty")
        parts = (_text(fields, name) for name in (f"{asked}_prefix", asked, f"{asked}_suffix"))
        model = _text(fields, "model").strip() or self._model.default_model
        target = parse_http_url(self._base_url.rstrip("/") + self._model.path)
        traced = ((TRACEPARENT, request.traceparent),) if request.traceparent else ()
        headers = (
            *traced,
            ("Content-Type", JSON),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "rillflow"),
            ("Idempotency-Key", call_id(request)),
            ("Authorization", f"Bearer {key}"),
        )
        body = encode_json(self._model.question(model, "".join(parts)))
        return HttpCall("POST", f"{target.origin}{target.path}", headers, body, is_secret=True)

    def _understood(self, request: DispatchRequest, answer: DispatchAnswer) -> DispatchAnswer:
        try:
            said = decode_untrusted_json(answer.body or b"null")
        except ValueError:
            said = None
        if not isinstance(said, dict):
            return failed(request, f"{HANDLE_FAILS}{self._model.name} answered no JSON object")
        body = encode_json(self._model.body(said, request.pattern))
        return replace(answer, body=body, is_outcome=request.pattern in LATER)


def language_models(
    settings: HttpSettings, http: HttpGateway
) -> list[tuple[str, LanguageModelGateway]]:
    """Return the gateways of all models, by protocol."""
    base_urls = {
        CHATGPT.name: settings.chatgpt_base_url,
        ALIYUN_AI.name: settings.aliyun_ai_base_url,
    }
    masks = KeyMasks()
    return [
        (name, LanguageModelGateway(model, base_urls[name], http, masks))
        for name, model in MODELS.items()
    ]


def _text(fields: JsonObject, name: str) -> str:
    value = fields.get(name)
    return "" if value is None else text_of(value)
