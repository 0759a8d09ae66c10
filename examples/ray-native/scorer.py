"""The Serve deployment of the Ray-native example: ``python scorer.py RAY_ADDRESS`` deploys it."""

import sys
from typing import Any

import numpy as np
import ray
from ray import serve

from rillflow import Artifact


class Scorer:
    """Scores frames: those with much contrast, neither dark nor bright, are good."""

    def __call__(self, frame: Artifact) -> dict[str, float]:
        """Return the score of a frame, an array of NumPy."""
        with frame.open() as content:
            picture = np.load(content) / 255
        return {"score": float(picture.std() - abs(picture.mean() - 0.5))}


def main(address: str) -> None:
    """Deploy it on a Ray that runs."""
    ray.init(address=address, log_to_driver=False)
    deployment: Any = serve.deployment(Scorer, ray_actor_options={"num_cpus": 0})
    serve.run(deployment.bind(), name="scorer", route_prefix=None)
    sys.stdout.write("the application scorer runs\n")


if __name__ == "__main__":
    main(sys.argv[1])
