"""Text to video as a flow in Python; it does the same as workflow.yaml.

rillflow run examples/text-to-video/workflow.py:text_to_video -i topic="the sea" -i scenes=3
"""

from typing import Any, Final

from rillflow.flow import call, flow, foreach, retry

GATEWAY: Final = "http://127.0.0.1:8081"


@flow(workspace="video", name="textToVideo", version="1.0")
def text_to_video(topic: str, scenes: int = 3) -> dict[str, Any]:
    """Gather a text, split it into scenes, film them two at a time, and join the lot."""
    later = call.options(callback=True, timeout_s=60, retry=retry(2, interval_s=1))

    def film(scene: Any, number: int) -> Any:
        voice = later(f"{GATEWAY}/async-function/voice", text=scene.text, number=number)
        lips = later(f"{GATEWAY}/async-function/lipsync", audio=voice.audio, number=number)
        words = later(
            f"{GATEWAY}/async-function/subtitles",
            text=scene.text,
            seconds=voice.seconds,
            number=number,
        )
        return {"video": lips.video, "audio": voice.audio, "captions": words.captions}

    text = later(f"{GATEWAY}/async-function/gather", topic=topic, sentences=scenes).text
    script = call(f"{GATEWAY}/function/split", text=text, scenes=scenes).script
    polished = call(f"{GATEWAY}/function/polish", script=script).script
    shots = foreach(polished, film, at_once=2, name="filming")
    result = call(
        f"{GATEWAY}/function/concat",
        videos=shots[:].video,
        audios=shots[:].audio,
        captions=shots[:].captions,
    )
    return {"result": result}
