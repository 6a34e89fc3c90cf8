"""How many threads OpenCV may use."""

import cv2
import pytest

from app.vision.cpu import share_cores


@pytest.mark.parametrize(("n_cores", "n_streams", "n_threads"), [(8, 0, 8), (8, 3, 2), (8, 30, 1), (1, 1, 1)])
def test_streams_share_the_cores(n_cores: int, n_streams: int, n_threads: int) -> None:
    before = cv2.getNumThreads()
    try:
        share_cores(n_cores, n_streams)
        assert cv2.getNumThreads() == n_threads
    finally:
        cv2.setNumThreads(before)
