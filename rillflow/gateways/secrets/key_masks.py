"""Masks of the keys of language models, which definitions bring with them.

Anybody who may write a definition may bring other keys all the time. To make the pattern of one
holds the interpreter for some milliseconds, and it takes megabytes. So that is done by a thread,
workspaces in turn, which rests after each, and a few are kept.

Used by `gateways/language_models.py`.
"""

from typing import Final

from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.gateways.secrets.masks import Mask
from rillflow.language.bounded_cache import BoundedCache

LONGEST_KEY: Final = 2_048
"""To make the pattern of a key of so many characters takes a tenth of a second."""
MOST_BYTES: Final = 160 << 20
"""The estimated memory of the masks that are kept: those of 50 keys of usual length."""

_BYTES_OF_CHARACTER: Final = 20 * 1024
_FOR_KEYS: Final = FairThread(most=512, most_of_one=128, name="keys of language models", rest=4.0)


class KeyMasks:
    """The masks of keys of language models, those of each workspace in a share of its own."""

    def __init__(self) -> None:
        self._masks: BoundedCache[Mask] = BoundedCache(MOST_BYTES)

    def __len__(self) -> int:
        """Return how many masks are kept."""
        return len(self._masks)

    async def of(self, key: str, workspace: str) -> Mask:
        """Return the mask of a key of up to ``LONGEST_KEY`` characters.

        Raises:
            OverloadedError: Too many others are to be made, for this workspace or for any.
        """
        known = self._masks.get(key)
        if known is not None:
            return known
        mask = await _FOR_KEYS.run(workspace, lambda: Mask.hiding(key))
        return self._masks.put(key, mask, _BYTES_OF_CHARACTER * len(key), workspace)
