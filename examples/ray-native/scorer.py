"""The Serve deployment of the Ray-native example: ``python scorer.py RAY_ADDRESS`` deploys it."""

import sys
from typing import Any

import ray
from ray import serve


class Scorer:
    """Scores frames: those with much contrast, neither dark nor bright, are good."""

    async def __call__(self, light: float, contrast: float) -> dict[str, float]:
        """Return the score of a frame."""
        return {"score": contrast - abs(light - 0.5)}


def main(address: str) -> None:
    """Deploy it on a Ray that runs."""
    ray.init(address=address, log_to_driver=False)
    deployment: Any = serve.deployment(Scorer, ray_actor_options={"num_cpus": 0})
    serve.run(deployment.bind(), name="scorer", route_prefix=None)
    sys.stdout.write("the application scorer runs\n")


if __name__ == "__main__":
    main(sys.argv[1])
