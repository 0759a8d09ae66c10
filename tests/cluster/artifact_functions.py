"""A function whose artifacts carry a script, which no page may run."""

from rillflow import Artifact
from rillflow.functions import Functions

SCRIPT = "<script>document.title = 'evil'</script>"

app = Functions()


@app.function
def make() -> dict[str, Artifact]:
    """Make a picture, a page and a few facts."""
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40">{SCRIPT}</svg>'
    return {
        "picture": Artifact(picture.encode(), "image/svg+xml", "picture.svg"),
        "page": Artifact(f"<p>Hello{SCRIPT}</p>".encode(), "text/html", "page.html"),
        "facts": Artifact(b'{"frames": 24}', "application/json", "facts.json"),
    }
