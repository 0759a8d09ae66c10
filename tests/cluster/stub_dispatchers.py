"""Gateway plugins that the tests' settings name; one answers at once, one by callback."""

import asyncio
import json
import urllib.request
from typing import Any

import ray


class Shout:
    """Serves the protocol ``shout``: a plain function that says the text louder."""

    name = "shout"

    def handle(self, resource: Any, dispatch_info: Any) -> str:
        """Answer with the text in capitals and with what stood behind ``shout://``."""
        if dispatch_info.input["text"] == "nothing":
            raise ValueError("there is nothing to say")
        assert ray.is_initialized(), "a plugin may use the Ray that it runs on"
        loud = dispatch_info.input["text"].upper()
        return json.dumps({"text": loud, "to": resource.scheme_value})


class Chat:
    """Stands for a function that calls back: protocol ``chat``."""

    name = "chat"

    async def handle(self, resource: Any, dispatch_info: Any) -> None:
        """Answer nothing; the completion comes by callback."""
        del resource
        given = dispatch_info.input
        prompt = given.get("prompt_prefix", "") + given["prompt"] + given.get("prompt_suffix", "")
        choices = [{"message": {"role": "assistant", "content": f"<{prompt}>"}}]
        body = {"result_type": "SUCCESS", "result": {"choices": choices}}
        await asyncio.to_thread(_post, dispatch_info.headers["X-Callback-Url"], body)


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, data=json.dumps(body).encode())  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - ours
        response.read()
