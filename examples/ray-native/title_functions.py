"""The HTTP function of the Ray-native example.

Serve it with ``rillflow functions serve examples/ray-native/title_functions.py``.
"""

from rillflow.functions import Functions

app = Functions()


@app.function
def title(topic: str) -> dict[str, str]:
    """Find a title."""
    return {"title": f"{topic.strip().title()}, seen from far away"}
