"""The page at ``/docs``, which shows the OpenAPI document.

It loads nothing from other hosts. ``health.py`` serves it.

Used by `serve/routes/monitoring/health.py`.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from starlette.responses import HTMLResponse, Response

_PAGE: Final = Path(__file__).with_name("docs_page.html").read_text(encoding="utf-8")


def _allowed(tag: str) -> str:
    """Allow the page's one script or style by its hash, so that no other one runs."""
    [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_allowed('script')}; style-src {_allowed('style')};"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def docs_page() -> Response:
    """Return the page; it reads ``openapi.json``, with the API key that it asks for."""
    return HTMLResponse(_PAGE, headers=_HEADERS)
