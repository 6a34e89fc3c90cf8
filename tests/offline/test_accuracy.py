import pytest

from app.core.types import InputSizes, Size
from app.flexpatch.config import PipelineConfig
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.ingest.street_export import write_motchallenge
from app.offline.accuracy import Sequence, flexpatch, whole_frame
from app.offline.annotations import read_ground_truth
from tests.flexpatch.world import ScriptedDetector

CONFIG = StreetConfig(size=Size(320, 192), fps=10, n_objects=6, seed=4)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    folder = tmp_path_factory.mktemp("street")
    write_motchallenge(Street(CONFIG), folder, 8)
    return Sequence(folder, read_ground_truth(folder / "gt" / "gt.txt"), step=2, n_frames=3)


def test_only_every_nth_frame_is_taken_up_to_the_limit(sequence: Sequence) -> None:
    assert [number for number, _ in sequence.frames()] == [1, 3, 5]


def test_the_whole_frame_costs_its_canvas_on_every_frame(sequence: Sequence) -> None:
    detector = ScriptedDetector(input_sizes=InputSizes())
    row = whole_frame(sequence, detector, Size(320, 192), class_id=0)
    assert row.megapixels_per_frame == pytest.approx(320 * 192 / 1e6)
    assert detector.canvases == [Size(320, 192)] * 3


def test_flexpatch_is_charged_what_the_detector_was_given(sequence: Sequence) -> None:
    detector = ScriptedDetector()
    row = flexpatch(sequence, detector, PipelineConfig(), class_id=0)
    assert row.megapixels_per_frame == pytest.approx(sum(size.pixels for size in detector.canvases) / 3 / 1e6)
    assert row.ap50 is not None
    assert 0 <= row.ap50 <= 1


def test_a_detector_that_sees_nothing_scores_nothing(sequence: Sequence) -> None:
    blind = ScriptedDetector(blind_calls=range(100))
    assert whole_frame(sequence, blind, Size(320, 192), class_id=0).ap50 == 0.0
    assert flexpatch(sequence, blind, PipelineConfig(), class_id=0).ap50 == 0.0
