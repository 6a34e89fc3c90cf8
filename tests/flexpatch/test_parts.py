"""Leaving a part of the method out leaves out that part, and nothing breaks."""

from dataclasses import fields

import pytest

from app.core.types import PatchKind, Size
from app.flexpatch.config import Parts, PipelineConfig
from tests.flexpatch.world import Actor, ScriptedDetector, World, make_pipeline, n_covered, run

SIZE = Size(1280, 720)
WORLD = World(
    SIZE,
    (
        Actor((100, 200, 160, 380), (120.0, 0.0)),
        Actor((700, 100, 760, 260), (0.0, 60.0), seed=2),
        Actor((1100, 300, 1130, 380), seed=3),
        Actor((300, 500, 340, 600), (60.0, 0.0), from_s=1.0, seed=4),
    ),
    frame_rate=10.0,
)


def looks(parts: Parts, n_frames: int = 30) -> tuple[list[PatchKind], list[Size], int]:
    """Kinds of the regions looked at, canvases, and how many actors were found on the last frame."""
    detector = ScriptedDetector()
    pipeline = make_pipeline(detector, PipelineConfig(megapixels_per_frame=0.08, parts=parts))
    results = run(pipeline, WORLD.frames(n_frames))
    explanations = [pipeline.explain(seq) for seq in range(1, n_frames + 1)]
    kinds = [c.kind for item in explanations if item for c in item.candidates if c.is_taken]
    return kinds, detector.canvases, n_covered(results[-1], WORLD.boxes(n_frames))


def test_all_parts_are_at_work_by_default() -> None:
    assert all(getattr(Parts(), item.name) for item in fields(Parts))
    assert PipelineConfig().parts == Parts()


@pytest.mark.parametrize("name", [item.name for item in fields(Parts)])
def test_objects_are_followed_without_any_one_part(name: str) -> None:
    _, _, n_found = looks(Parts(**{name: False}))
    assert n_found >= 3


def test_without_patches_only_whole_frames_are_looked_at() -> None:
    kinds, _, _ = looks(Parts(patches=False))
    assert set(kinds) == {"frame"}
    assert set(looks(Parts())[0]) != {"frame"}


def test_without_tiles_and_motion_no_region_is_searched() -> None:
    kinds, _, _ = looks(Parts(tiles=False, motion=False))
    assert not {"tile", "motion"} & set(kinds)


def test_without_small_canvases_there_is_one() -> None:
    _, canvases, _ = looks(Parts(small_canvases=False))
    assert len(set(canvases)) == 1


def test_without_patch_scaling_patches_are_cut_at_the_frames_own_scale() -> None:
    tall = World(SIZE, (Actor((300, 50, 560, 690), (200.0, 0.0)), Actor((900, 60, 1140, 680), seed=2)), frame_rate=5.0)
    scales = {}
    for parts in (Parts(), Parts(patch_scaling=False)):
        config = PipelineConfig(megapixels_per_frame=0.3, max_canvas=SIZE_32, parts=parts)
        pipeline = make_pipeline(ScriptedDetector(), config)
        run(pipeline, tall.frames(20))
        explanations = [pipeline.explain(seq) for seq in range(1, 21)]
        scales[parts] = [c.scale for e in explanations if e for c in e.candidates if c.kind == "object"]
    assert max(scales[Parts()]) < 0.5
    assert max(scales[Parts(patch_scaling=False)]) > 0.7


SIZE_32 = Size(1280, 736)


def test_without_fused_looks_a_score_is_the_last_looks() -> None:
    detector = ScriptedDetector(score=0.8, blind_calls={2, 3})
    pipeline = make_pipeline(detector, PipelineConfig(megapixels_per_frame=0.3, parts=Parts(fused_looks=False)))
    results = run(pipeline, WORLD.frames(20))
    confirmed = [item for result in results for item in result.objects if item.origin == "detected"]
    assert confirmed
    assert {round(item.score / (1 - item.failure_probability), 3) for item in confirmed} == {0.8}
