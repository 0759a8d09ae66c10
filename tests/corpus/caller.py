"""The HTTP API as the replay uses it: asynchronously, and whatever comes back."""

import json
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import aiohttp
import yarl

Json: TypeAlias = Any

TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
JSON: Final = {"Content-Type": "application/json"}


class Caller:
    """Sends requests to one stack."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http, self._base_url = http, base_url.rstrip("/")

    async def call(
        self, method: str, path: str, query: Json = None, *, body: Json = None, text: str = ""
    ) -> tuple[int, Json]:
        """Send a request; return the status and the JSON, or text, of its answer."""
        url = self._base_url + path
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        data, headers = b"", {}
        if text:
            data, headers = text.encode(), TEXT
        elif body is not None:
            data, headers = json.dumps(body).encode(), JSON
        async with self._http.request(
            method,
            yarl.URL(url, encoded=True),
            data=data or None,
            headers=headers,
            skip_auto_headers=("Content-Type",),
        ) as response:
            answer = await response.text()
        try:
            return response.status, json.loads(answer)
        except ValueError:
            return response.status, answer

    async def shown(self, path: str, **query: Json) -> Json:
        """Read something; empty where there is nothing."""
        _, answer = await self.call("GET", path, query)
        found = answer.get("ret") if isinstance(answer, dict) else None
        return found if isinstance(found, dict) else {}
