"""Keys that definitions bring take neither the event loop nor memory without end."""

import asyncio
import threading

from rillflow.gateways.secrets.key_masks import _FOR_KEYS, LONGEST_KEY, KeyMasks


async def test_the_mask_of_a_new_key_is_made_by_a_thread_and_kept() -> None:
    masks, gate = KeyMasks(), threading.Event()
    held = asyncio.create_task(_FOR_KEYS.run("another", gate.wait))
    try:
        made = asyncio.create_task(masks.of("sk-key-of-a-model", "shop"))
        async with asyncio.timeout(60):
            while "shop" not in _FOR_KEYS._taken:
                assert not made.done(), "it was made by the event loop"
                await asyncio.sleep(0)
    finally:
        gate.set()
    mask = await made
    assert mask.text("<SK-key-of-a-model>") == "<***>"
    assert await masks.of("sk-key-of-a-model", "other") is mask
    assert await held


async def test_masks_that_are_kept_take_so_much_memory_and_leave_those_of_others() -> None:
    masks = KeyMasks()
    of_other = await masks.of("sk-key-of-a-model", "other")
    first, *others = (f"{number:0{LONGEST_KEY}}" for number in range(6))
    kept = await masks.of(first, "shop")
    for key in others:
        await masks.of(key, "shop")
    assert len(masks) <= 5
    assert await masks.of(first, "shop") is not kept
    assert await masks.of("sk-key-of-a-model", "other") is of_other
