from pathlib import Path

import numpy as np
import pytest

from app.core.errors import SourceError
from app.offline.annotations import FrameTruth, read_ground_truth, truths_of
from tests.flexpatch.builders import frame_boxes


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path / "gt.txt" if path.is_dir() else path


def test_boxes_are_read_by_frame(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path / "gt.txt", "1,3,10,20,30,40,1,-1,-1,-1\n2,3,11,20,30,40,1,1,1\n"))
    assert truth[1].boxes.tolist() == [[10, 20, 40, 60]]
    assert truth[2].ids.tolist() == [3]


def test_flag_0_and_other_classes_are_ignored_regions(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path / "gt.txt", "1,1,0,0,5,5,0,1,1\n1,2,9,9,5,5,1,7,1\n1,3,1,1,5,5,1,1,1\n"))
    assert truth[1].ids.tolist() == [3]
    assert len(truth[1].ignored) == 2


@pytest.mark.parametrize("line", ["1,2,3", "a,b,c,d,e,f,g", "1,1,1,1,1,1,"])
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(SourceError, match="line 2"):
        read_ground_truth(written(tmp_path / "gt.txt", f"1,1,0,0,5,5,1\n{line}\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.txt"):
        read_ground_truth(tmp_path / "nowhere.txt")


def test_frames_without_annotation_are_empty_in_an_aligned_sequence() -> None:
    known = FrameTruth(frame_boxes((0, 0, 5, 5)), np.array([3]), frame_boxes())
    first, second = truths_of({7: known}, [2, 7])
    assert (first.boxes.shape, first.ids.shape, first.ignored.shape) == ((0, 4), (0,), (0, 4))
    assert second is known
