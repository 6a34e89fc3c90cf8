import numpy as np
import pytest

from app.core.types import BgrPicture, CanvasBoxes, CanvasDetections, Frame, InputSizes, Size, YuvPicture


def test_a_size_counts_its_pixels() -> None:
    assert Size(640, 384).pixels == 245_760


def test_a_size_reads_as_width_by_height() -> None:
    assert str(Size(640, 384)) == "640x384"


@pytest.mark.parametrize("size", [Size(32, 32), Size(640, 384), Size(32, 4096)])
def test_any_multiple_of_the_stride_is_accepted(size: Size) -> None:
    assert InputSizes(stride=32).accepts(size)


@pytest.mark.parametrize("size", [Size(640, 360), Size(650, 384), Size(0, 32), Size(32, 0), Size(-32, 32)])
def test_sizes_off_the_stride_are_refused(size: Size) -> None:
    assert not InputSizes(stride=32).accepts(size)


def test_a_detector_with_fixed_sizes_accepts_these() -> None:
    assert InputSizes(fixed=(Size(640, 640), Size(300, 300))).accepts(Size(300, 300))


def test_a_detector_with_fixed_sizes_refuses_all_others() -> None:
    assert not InputSizes(fixed=(Size(640, 640),)).accepts(Size(320, 320))


def test_a_bgr_picture_tells_width_before_height() -> None:
    assert BgrPicture(np.zeros((48, 64, 3), np.uint8)).size == Size(64, 48)


def test_a_yuv_picture_has_the_size_of_its_luma() -> None:
    chroma = np.zeros((24, 33), np.uint8)
    assert YuvPicture(np.zeros((48, 65), np.uint8), chroma, chroma).size == Size(65, 48)


def test_a_frame_has_the_size_of_its_picture() -> None:
    assert Frame(1, 0.0, BgrPicture(np.zeros((48, 64, 3), np.uint8))).size == Size(64, 48)


def test_detections_are_counted_by_their_scores() -> None:
    detections = CanvasDetections(
        CanvasBoxes(np.zeros((3, 4), np.float32)), np.zeros(3, np.float32), np.zeros(3, np.int32)
    )
    assert len(detections) == 3
