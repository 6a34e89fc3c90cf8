"""Annotated pictures."""

import gc

import numpy as np
import simplejpeg

from app.core.types import BgrPicture, CandidateReport
from app.sessions.model import LatestFrame
from app.sessions.preview import PreviewRenderer, PreviewStyle
from tests.sessions.fakes import tracked

PATCHES = PreviewStyle(with_patches=True)


def latest(seq: int = 1) -> LatestFrame:
    return LatestFrame(seq, BgrPicture(np.full((48, 64, 3), 90, np.uint8)), (tracked(1, (20, 20, 50, 40)),))


def patch(*, is_taken: bool) -> CandidateReport:
    return CandidateReport("tile", (2, 2, 60, 46), 1.0, 0.5, 100, (), is_taken, "because")


def test_objects_and_taken_patches_are_drawn() -> None:
    renderer = PreviewRenderer(95)
    frame = latest()
    plain = simplejpeg.decode_jpeg(renderer.render("a", frame), colorspace="BGR").astype(int)
    patched = simplejpeg.decode_jpeg(
        renderer.render("a", frame, PATCHES, [patch(is_taken=True)]), colorspace="BGR"
    ).astype(int)
    assert plain.shape == (48, 64, 3)
    assert np.ptp(plain[30, 20]) > 60, "the box has a colour on the grey picture"
    assert abs(plain[2, 40] - 90).max() < 10
    assert patched[2, 40].min() > 180, "a white edge"


def test_patches_that_were_not_taken_are_not_drawn() -> None:
    renderer = PreviewRenderer(95)
    frame = latest()
    assert renderer.render("a", frame) == renderer.render("a", frame, PATCHES, [patch(is_taken=False)])


def test_a_picture_is_encoded_once_for_all_who_look() -> None:
    renderer = PreviewRenderer(80)
    frame = latest()
    first = renderer.render("a", frame)
    assert renderer.render("a", frame) is first
    assert renderer.render("a", latest()) is not first, "another session may have had this id and number"


def test_the_cache_is_bounded_and_keeps_no_picture_alive() -> None:
    renderer = PreviewRenderer(80)
    for number in range(100):
        renderer.render(f"s{number}", latest())
    gc.collect()
    assert len(renderer._cache) == 16
    assert all(reference() is None for reference, _ in renderer._cache.values())


def test_pictures_can_be_had_without_objects_and_smaller() -> None:
    renderer = PreviewRenderer(95)
    clean = renderer.render("a", latest(), PreviewStyle(with_objects=False, width=32))
    pixels = simplejpeg.decode_jpeg(clean, colorspace="BGR").astype(int)
    assert pixels.shape == (24, 32, 3)
    assert np.abs(pixels - 90).max() < 6
    assert simplejpeg.decode_jpeg(renderer.render("a", latest(), PreviewStyle(width=4000))).shape == (48, 64, 3)
