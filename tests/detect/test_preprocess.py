"""Input tensors against the plain formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.detect.families import FAMILIES
from app.detect.preprocess import InputBuffer, Preprocessing, from_mean_and_deviation

_IMAGENET = from_mean_and_deviation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), is_rgb=True)
ALL = [*(family.preprocessing for family in FAMILIES.values()), _IMAGENET, Preprocessing(is_rgb=True)]


def expected(canvases: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float64]:
    channels = canvases[..., ::-1] if how.is_rgb else canvases
    return channels * np.array(how.scale) - np.array(how.offset)


def noise(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("is_channels_last", [False, True])
@pytest.mark.parametrize("how", ALL)
def test_tensor_is_the_scaled_canvas(how: Preprocessing, is_channels_last: bool, dtype: str) -> None:
    canvases = noise(2, 6, 10)
    tensor = InputBuffer(how, dtype, is_channels_last=is_channels_last).fill(canvases, 3)
    target = expected(canvases, how)
    if not is_channels_last:
        target = target.transpose(0, 3, 1, 2)
    assert tensor.dtype == dtype
    assert np.array_equal(tensor[2], np.zeros_like(tensor[2]))
    np.testing.assert_allclose(tensor[:2].astype(np.float64), target, atol=1e-5 if dtype == "float32" else 0.01)


@pytest.mark.parametrize("is_channels_last", [False, True])
@pytest.mark.parametrize("how", ALL)
def test_byte_inputs_take_the_pixels_unscaled(how: Preprocessing, is_channels_last: bool) -> None:
    canvases = noise(1, 6, 10)
    tensor = InputBuffer(how, np.uint8, is_channels_last=is_channels_last).fill(canvases, 1)
    target = canvases[..., ::-1] if how.is_rgb else canvases
    assert np.array_equal(tensor, target if is_channels_last else target.transpose(0, 3, 1, 2))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5))
def test_a_buffer_serves_one_size_after_another(shapes: list[tuple[int, int, int]]) -> None:
    how = FAMILIES["nanodet"].preprocessing
    buffer = InputBuffer(how, np.float32, is_channels_last=False)
    for shape in shapes:
        canvases = noise(*shape)
        tensor = buffer.fill(canvases, len(canvases))
        np.testing.assert_allclose(tensor.astype(np.float64), expected(canvases, how).transpose(0, 3, 1, 2), atol=1e-5)


def test_views_of_larger_pictures_are_taken_too() -> None:
    picture = noise(1, 40, 60)
    how = FAMILIES["yolov8"].preprocessing
    view = picture[:, 4:36, 8:56:2]
    tensor = InputBuffer(how, np.float32, is_channels_last=False).fill(view, 1)
    np.testing.assert_allclose(tensor.astype(np.float64), expected(view, how).transpose(0, 3, 1, 2), atol=1e-6)


def test_the_buffer_is_used_again() -> None:
    buffer = InputBuffer(Preprocessing(), np.float32, is_channels_last=False)
    first = buffer.fill(noise(1, 32, 32), 1)
    assert np.shares_memory(first, buffer.fill(noise(1, 16, 32), 1))
