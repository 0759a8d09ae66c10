"""The workflow in Python: ``workflow.yaml`` is what ``rillflow.flow`` makes of it."""

from typing import Any, Final

import studio

from rillflow.flow import call, flow, foreach, ray_call, serve_call

FUNCTIONS: Final = "http://127.0.0.1:8081"


@flow(workspace="examples", name="rayNative", ray_options={"num_cpus": 0.5})
def film(topic: str, frames: int = 12, best: int = 6) -> dict[str, Any]:
    """Draw frames with NumPy, score them in a Serve deployment, and join the best."""
    named = call(f"{FUNCTIONS}/function/title", topic=topic)
    drawn: Any = ray_call.options(detached=True)(studio.draw, title=named.title, frames=frames)
    scores = foreach(
        drawn,
        lambda frame: serve_call("scorer", frame=frame).score,
        at_once=4,
    )
    made = ray_call.options(num_cpus=1)(studio.join, frames=drawn, scores=scores, best=best)
    return {"title": named.title, "film": made["film"], "chosen": made["frames"]}
