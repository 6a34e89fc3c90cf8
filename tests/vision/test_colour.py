import numpy as np
import pytest

from app.core.types import Size, YuvPicture
from app.vision.colour import planes_to_bgr

FULL_RANGE = [
    ((0, 128, 128), (0, 0, 0)),
    ((255, 128, 128), (255, 255, 255)),
    ((128, 128, 128), (128, 128, 128)),
    ((76, 85, 255), (0, 0, 255)),
    ((150, 44, 21), (0, 255, 0)),
    ((29, 255, 107), (255, 0, 0)),
]
VIDEO_RANGE = [
    ((16, 128, 128), (0, 0, 0)),
    ((235, 128, 128), (255, 255, 255)),
    ((126, 128, 128), (128, 128, 128)),
    ((81, 90, 240), (0, 0, 255)),
    ((145, 54, 34), (0, 255, 0)),
    ((41, 240, 110), (255, 0, 0)),
    ((0, 128, 128), (0, 0, 0)),
    ((255, 128, 128), (255, 255, 255)),
]


def one_colour(codes: tuple[int, int, int], size: Size, *, is_full_range: bool) -> YuvPicture:
    chroma = (-(-size.height // 2), -(-size.width // 2))
    y, u, v = codes
    return YuvPicture(
        np.full((size.height, size.width), y, np.uint8),
        np.full(chroma, u, np.uint8),
        np.full(chroma, v, np.uint8),
        is_full_range=is_full_range,
    )


@pytest.mark.parametrize(("codes", "bgr"), FULL_RANGE)
def test_known_colours_in_full_range(codes: tuple[int, int, int], bgr: tuple[int, int, int]) -> None:
    picture = one_colour(codes, Size(16, 8), is_full_range=True)
    assert planes_to_bgr(picture, (0, 0, 16, 8), Size(16, 8)) == pytest.approx(np.broadcast_to(bgr, (8, 16, 3)), abs=3)


@pytest.mark.parametrize(("codes", "bgr"), VIDEO_RANGE)
def test_known_colours_in_video_range(codes: tuple[int, int, int], bgr: tuple[int, int, int]) -> None:
    picture = one_colour(codes, Size(16, 8), is_full_range=False)
    assert planes_to_bgr(picture, (0, 0, 16, 8), Size(16, 8)) == pytest.approx(np.broadcast_to(bgr, (8, 16, 3)), abs=4)


@pytest.mark.parametrize("size", [Size(1, 1), Size(2, 1), Size(7, 5), Size(641, 479)], ids=str)
def test_planes_of_any_size_can_be_converted(size: Size) -> None:
    picture = one_colour((150, 44, 21), size, is_full_range=True)
    assert planes_to_bgr(picture, (0, 0, *size), size).shape == (size.height, size.width, 3)


@pytest.mark.parametrize("corner", [(0, 0), (6, 4), (5, 3), (6, 0)])
def test_a_single_pixel_can_be_cut_anywhere(corner: tuple[int, int]) -> None:
    picture = one_colour((76, 85, 255), Size(7, 5), is_full_range=True)
    x, y = corner
    assert planes_to_bgr(picture, (x, y, x + 1, y + 1), Size(1, 1))[0, 0] == pytest.approx([0, 0, 255], abs=3)


def test_planes_may_be_strided_views() -> None:
    wide = np.zeros((8, 64), np.uint8)
    wide[:, :16] = 150
    picture = YuvPicture(
        wide[:, :16], np.full((4, 32), 44, np.uint8)[:, :8], np.full((4, 32), 21, np.uint8)[:, :8], is_full_range=True
    )
    assert planes_to_bgr(picture, (0, 0, 16, 8), Size(16, 8)) == pytest.approx(
        np.broadcast_to((0, 255, 0), (8, 16, 3)), abs=3
    )


def test_only_the_rectangle_asked_for_is_shown() -> None:
    picture = one_colour((0, 128, 128), Size(32, 32), is_full_range=True)
    picture.y[8:16, 16:24] = 200
    shown = planes_to_bgr(picture, (16, 8, 24, 16), Size(8, 8))
    assert shown == pytest.approx(np.full((8, 8, 3), 200), abs=1)
