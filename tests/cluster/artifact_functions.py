"""A function whose artifacts carry a script, which no page may run, or lie about their size."""

import hashlib
from typing import Any, Final

from rillflow import Artifact
from rillflow.functions import Functions

SCRIPT: Final = "<script>document.title = 'evil'</script>"
LONG: Final = b"long " * 20_000
LYING: Final = {
    "rillflow_artifact": hashlib.sha256(LONG).hexdigest(),
    "bytes": 12,
    "media_type": "text/plain",
    "name": "short.txt",
}

app = Functions()


@app.function
def make() -> dict[str, Any]:
    """Make a picture, a page, a long text that is said to be short, and a few facts."""
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40">{SCRIPT}</svg>'
    return {
        "picture": Artifact(picture.encode(), "image/svg+xml", "picture.svg"),
        "page": Artifact(f"<p>Hello{SCRIPT}</p>".encode(), "text/html", "page.html"),
        "short": LYING,
        "long": Artifact(LONG, "text/plain", "long.txt"),
        "facts": Artifact(b'{"frames": 24}', "application/json", "facts.json"),
    }
