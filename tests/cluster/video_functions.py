"""The functions of text to video without their files: each answers after a tenth of a second.

For a thousand films at once; what they say depends on their input alone, so that a film
that got somebody else's parts is found out.
"""

from typing import Any, Final

from rillflow.testing import Function, FunctionRequest

DELAY_S: Final = 0.1


def gather(request: FunctionRequest) -> dict[str, Any]:
    """Gather sentences about a topic."""
    order = request.json()
    return {"text": ". ".join([f"about {order['topic']}"] * int(order["sentences"]))}


def split(request: FunctionRequest) -> dict[str, Any]:
    """Split a text into scenes."""
    return {"script": [{"text": text} for text in request.json()["text"].split(". ")]}


def polish(request: FunctionRequest) -> dict[str, Any]:
    """Begin every scene with a capital."""
    script = request.json()["script"]
    return {"script": [{"text": scene["text"].capitalize()} for scene in script]}


def voice(request: FunctionRequest) -> dict[str, Any]:
    """Speak a scene."""
    order = request.json()
    return {"audio": f"{order['text']}/{order['number']}.wav", "seconds": len(order["text"])}


def lipsync(request: FunctionRequest) -> dict[str, Any]:
    """Move the lips to a voice."""
    return {"video": request.json()["audio"].replace(".wav", ".y4m")}


def subtitles(request: FunctionRequest) -> dict[str, Any]:
    """Write a scene's text down."""
    order = request.json()
    return {"captions": f"{order['text']}/{order['number']}/{order['seconds']}.srt"}


def concat(request: FunctionRequest) -> dict[str, Any]:
    """Join the parts by their names."""
    order = request.json()
    return {key: order[key] for key in ("videos", "audios", "captions")}


FUNCTIONS: Final = {
    handler.__name__: Function(handler=handler, delay_s=DELAY_S)
    for handler in (gather, split, polish, voice, lipsync, subtitles, concat)
}
