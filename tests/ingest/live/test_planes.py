"""Pictures in shared memory."""

import gc
import os

import numpy as np
import pytest

from app.core.types import Size, YuvPicture
from app.ingest.live.planes import PlaneFormat, PlaneSlots


def picture(size: Size, seed: int) -> YuvPicture:
    random = np.random.default_rng(seed)
    colour = (-(-size.height // 2), -(-size.width // 2))
    y, u, v = (random.integers(0, 256, shape, np.uint8) for shape in ((size.height, size.width), colour, colour))
    return YuvPicture(y, u, v)


@pytest.mark.parametrize("size", [Size(64, 48), Size(65, 47), Size(1920, 1080)])
def test_another_mapping_sees_what_one_wrote(size: Size) -> None:
    shape = PlaneFormat(size, is_full_range=False)
    ours = PlaneSlots(shape, 3)
    theirs = PlaneSlots(shape, 3, os.dup(ours.fd))
    shown = [picture(size, seed) for seed in range(3)]
    for slot, item in enumerate(shown):
        # Planes of a decoder are strided views.
        wide = np.pad(item.y, ((0, 0), (0, 16)))
        ours.write(slot, YuvPicture(wide[:, : size.width], item.u, item.v))
    for slot, item in enumerate(shown):
        seen = theirs.picture(slot, lambda: None)
        assert seen.size == size
        assert all(np.array_equal(a, b) for a, b in ((seen.y, item.y), (seen.u, item.u), (seen.v, item.v)))
        with pytest.raises(ValueError, match="read-only"):
            seen.y[0, 0] = 1
    ours.close_descriptor()
    theirs.close_descriptor()


def test_a_slot_is_given_back_once_nobody_looks_at_it() -> None:
    slots = PlaneSlots(PlaneFormat(Size(64, 48), is_full_range=True), 2)
    slots.close_descriptor()
    given_back: list[int] = []
    seen: YuvPicture | None = slots.picture(1, lambda: given_back.append(1))
    assert seen is not None
    corner = seen.u[2:5, 3:]
    seen = None
    gc.collect()
    assert given_back == [], "a part of it is still looked at"
    assert corner.shape == (3, 29)
    del corner
    assert given_back == [1]


def test_pictures_outlive_their_memorys_owner() -> None:
    slots = PlaneSlots(PlaneFormat(Size(64, 48), is_full_range=True), 1)
    slots.close_descriptor()
    slots.write(0, picture(Size(64, 48), 1))
    seen = slots.picture(0, lambda: None)
    del slots
    gc.collect()
    assert np.array_equal(seen.y, picture(Size(64, 48), 1).y)
