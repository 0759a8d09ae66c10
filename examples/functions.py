"""The functions of the small examples.

Serve them with ``rillflow functions serve examples/functions.py``.
"""

from rillflow.functions import Functions

app = Functions()


@app.function
def greet(name: str) -> dict[str, str]:
    """Greet somebody."""
    return {"greeting": f"Hello, {name}!"}


@app.function
def shout(text: str) -> dict[str, str]:
    """Say a text louder."""
    return {"text": text.upper()}


@app.function
def square(number: int) -> dict[str, int]:
    """Multiply a number by itself."""
    return {"square": number * number}
