"""Pushed images: every kind that clients send, and every way in which they can be wrong."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.core.errors import (
    FrameCorrupt,
    FrameEmpty,
    FrameError,
    FrameFormatUnknown,
    FrameSizeChanged,
    FrameTooLarge,
)
from app.core.types import Size
from app.ingest.image import decode, read_header

SIZE = Size(48, 32)
LIMIT = 1 << 20


def scene() -> NDArray[np.uint8]:
    """A picture (32, 48, 3) with slopes in all channels."""
    y, x = np.mgrid[0:32, 0:48]
    return np.dstack([40 + 3 * x, 200 - 4 * y, 60 + 2 * x + y]).astype(np.uint8)


def saved(mode: str, form: str, **options: int | bool | str) -> bytes:
    """The scene as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(scene()[..., ::-1])).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def deep_png() -> bytes:
    encoded = cv2.imencode(".png", scene().astype(np.uint16) * 257)[1]
    return bytes(encoded.tobytes())


JPEG = saved("RGB", "JPEG", quality=95, subsampling=0)
PNG = saved("RGB", "PNG")
WEBP = saved("RGB", "WEBP", quality=95)
WEBP_LOSSLESS = saved("RGB", "WEBP", lossless=True)
WEBP_ALPHA = saved("RGBA", "WEBP", lossless=True)
WHOLE = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "webp_lossless": WEBP_LOSSLESS, "webp_alpha": WEBP_ALPHA}

whole = pytest.mark.parametrize("data", list(WHOLE.values()), ids=list(WHOLE))


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (JPEG, 6),
        (saved("RGB", "JPEG", quality=95, subsampling=2), 12),
        (saved("RGB", "JPEG", quality=95, progressive=True), 12),
        (PNG, 0),
        (saved("RGBA", "PNG"), 0),
        (deep_png(), 0),
        (WEBP, 12),
        (WEBP_LOSSLESS, 0),
        (WEBP_ALPHA, 0),
    ],
)
def test_each_kind_of_colour_image_gives_its_pixels(data: bytes, tolerance: int) -> None:
    picture = decode(data, max_pixels=LIMIT)
    assert picture.size == SIZE
    assert picture.pixels.flags.c_contiguous
    assert np.abs(picture.pixels.astype(int) - scene()).max() <= tolerance


@pytest.mark.parametrize("data", [saved("L", "JPEG", quality=95), saved("L", "PNG"), saved("LA", "PNG")])
def test_grey_becomes_three_equal_channels(data: bytes) -> None:
    pixels = decode(data, max_pixels=LIMIT).pixels
    grey = cv2.cvtColor(scene(), cv2.COLOR_BGR2GRAY)
    assert np.ptp(pixels, axis=2).max() == 0
    assert np.abs(pixels[..., 0].astype(int) - grey).max() <= 4


@pytest.mark.parametrize("mode", ["P", "1"])
def test_palettes_and_bitmaps_are_pictures_too(mode: str) -> None:
    assert decode(saved(mode, "PNG"), max_pixels=LIMIT).size == SIZE


def test_a_jpeg_in_printing_inks_keeps_its_colours() -> None:
    pixels = decode(saved("CMYK", "JPEG", quality=95, subsampling=0), max_pixels=LIMIT).pixels
    assert np.abs(pixels.astype(int) - scene()).mean() < 8


def test_an_orientation_noted_in_the_image_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(scene()[..., ::-1])).save(buffer, form, exif=exif)
        assert decode(buffer.getvalue(), max_pixels=LIMIT).size == SIZE


@whole
def test_the_header_alone_tells_format_and_size(data: bytes) -> None:
    header = read_header(data)
    assert header.size == SIZE
    assert header.format == {b"\xff": "jpeg", b"\x89": "png", b"R": "webp"}[data[:1]]


def test_no_bytes_are_no_frame() -> None:
    with pytest.raises(FrameEmpty, match="send one JPEG"):
        decode(b"", max_pixels=LIMIT)


@pytest.mark.parametrize("data", [b"hello, world", b"GIF89a" + bytes(50), b"RIFF\x00\x00\x00\x00WAVE", b"\xff"])
def test_other_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(FrameFormatUnknown, match="no JPEG, PNG or WebP"):
        decode(data, max_pixels=LIMIT)


@whole
def test_too_many_pixels_are_refused_with_both_numbers(data: bytes) -> None:
    with pytest.raises(FrameTooLarge, match="48x32, 1536 pixels, and at most 1535 are allowed"):
        decode(data, max_pixels=1535)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises what its few bytes cannot hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def test_a_bomb_is_refused_before_any_pixel_is_decoded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FrameTooLarge, match="65000x65000"):
            decode(png_claiming(65000, 65000), max_pixels=LIMIT)


@pytest.mark.parametrize("size", [(100, 100), (0, 10)])
def test_a_header_that_promises_more_than_there_is_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(FrameCorrupt):
        decode(png_claiming(*size), max_pixels=LIMIT)


@whole
def test_another_size_than_expected_is_refused_with_both(data: bytes) -> None:
    assert decode(data, max_pixels=LIMIT, expected_size=SIZE).size == SIZE
    with pytest.raises(FrameSizeChanged, match="48x32 and the session's first was 32x48"):
        decode(data, max_pixels=LIMIT, expected_size=Size(32, 48))


def test_a_truncated_image_of_the_wrong_size_is_refused_for_its_size() -> None:
    with pytest.raises(FrameSizeChanged):
        decode(JPEG[:-100], max_pixels=LIMIT, expected_size=Size(1, 1))


@whole
def test_a_truncated_image_is_corrupt_wherever_it_ends(data: bytes) -> None:
    for length in range(16, len(data) - 1, 7):
        with pytest.raises(FrameCorrupt, match="send the whole file"):
            decode(data[:length], max_pixels=LIMIT)


def test_a_truncated_large_jpeg_is_corrupt() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
    data = simplejpeg.encode_jpeg(noise, quality=85, colorspace="BGR")
    for share in (0.1, 0.5, 0.9, 0.999):
        with pytest.raises(FrameCorrupt):
            decode(data[: int(share * len(data))], max_pixels=LIMIT)


def test_every_flipped_bit_of_a_png_is_noticed() -> None:
    for index in range(33, len(PNG) - 12, 5):
        damaged = bytearray(PNG)
        damaged[index] ^= 0x10
        with pytest.raises(FrameCorrupt):
            decode(bytes(damaged), max_pixels=LIMIT)


def survives(data: bytes) -> None:
    """Either a picture that fits its header, or one of our errors."""
    try:
        picture = decode(data, max_pixels=LIMIT)
    except FrameError:
        return
    assert picture.size == read_header(data).size


@given(st.binary(max_size=300))
@example(b"\xff\xd8\xff")
@example(b"\x89PNG\r\n\x1a\n")
@example(b"RIFF\x16\x00\x00\x00WEBPVP8 ")
def test_random_bytes_never_crash(data: bytes) -> None:
    survives(data)


@given(st.sampled_from([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", WEBP[:16]]), st.binary(max_size=300))
def test_random_bytes_after_a_true_start_never_crash(start: bytes, rest: bytes) -> None:
    survives(start + rest)


@given(
    st.sampled_from([*WHOLE.values(), saved("CMYK", "JPEG")]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8),
    st.floats(0.05, 1),
)
def test_damaged_images_never_crash(data: bytes, flips: list[tuple[float, int]], share: float) -> None:
    damaged = bytearray(data)
    for place, mask in flips:
        damaged[int(place * len(damaged))] ^= mask
    survives(bytes(damaged[: max(int(share * len(damaged)), 1)]))


@given(st.sampled_from([".jpg", ".png", ".webp"]), st.integers(1, 70), st.integers(1, 70))
def test_any_small_size_works(suffix: str, width: int, height: int) -> None:
    pixels = np.full((height, width, 3), 90, np.uint8)
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    picture = decode(data, max_pixels=LIMIT)
    assert picture.size == Size(width, height)
    assert np.abs(picture.pixels.astype(int) - 90).max() <= 4
