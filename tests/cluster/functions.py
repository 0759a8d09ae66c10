"""Functions behind the gateway of the cluster tests: they do what their input says.

``say`` in the input tells what is answered: ``json``, ``text`` or ``base64``, with
``status`` and ``type``; ``request`` wants what the function was sent. Each function but
``say`` has a gateway that treats it in a way of its own.
"""

import base64
from collections import Counter
from typing import Any, Final

from rillflow.testing import Function, FunctionRequest

TRIES: Final = 3
CHAT_KEY: Final = "sk-0123456789"
SLOW_S: Final = 1.0
"""So long that somebody who looks again and again sees that it runs, on a busy machine, too."""
_calls: Final[Counter[str]] = Counter()


def say(request: FunctionRequest) -> Any:
    """Answer what the input says."""
    wanted = (request.json() or {}).get("say") or {}
    status = int(wanted.get("status", 200))
    headers = {"Content-Type": wanted["type"]} if "type" in wanted else {}
    if wanted.get("request"):
        return status, _seen(request), headers
    if "base64" in wanted:
        return status, base64.b64decode(wanted["base64"]), headers
    if "text" in wanted:
        return status, wanted["text"], headers
    return status, wanted.get("json", {}), headers


def twice(_: FunctionRequest) -> dict[str, Any]:
    """Answer always the same."""
    return {"twice": True}


def third(request: FunctionRequest) -> Any:
    """Fail twice for each execution, then answer how often it was called."""
    execution_id = request.query["execution_id"]
    _calls[execution_id] += 1
    if _calls[execution_id] < TRIES:
        return 500, "not yet", {}
    return {"call": _calls[execution_id]}


def chat(request: FunctionRequest) -> Any:
    """Stand for OpenAI's API: repeat the question, or refuse the key."""
    if request.headers["Authorization"] != f"Bearer {CHAT_KEY}":
        return 401, {"error": {"message": f"no {request.headers['Authorization']}"}}, {}
    asked = request.json()["messages"][0]
    return {"choices": [{"message": {"role": "assistant", "content": f"<{asked['content']}>"}}]}


def _seen(request: FunctionRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": request.text(),
    }


FUNCTIONS: Final = {
    "say": Function(handler=say),
    "chat": Function(handler=chat),
    "slow": Function(handler=say, delay_s=SLOW_S),
    "packed": Function(handler=say, compress=True),
    "twice": Function(handler=twice, deliveries=2),
    "third": Function(handler=third, retries=TRIES),
    "lost": Function(handler=say, drop_callback=True),
}
