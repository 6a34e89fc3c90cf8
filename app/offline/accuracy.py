"""Accuracy against detector pixels on an annotated sequence: FlexPatch beside the whole frame.

python -m app.offline.accuracy SEQUENCE... --detector FILE.onnx [--budget 0.05,0.1] [--whole 640x384]
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from app.core.boxes import clip
from app.core.clock import SystemClock
from app.core.errors import FlexPatchError
from app.core.types import CanvasBoxes, Detector, Frame, FrameBoxes, PatchCopy, Size
from app.detect.loader import load_detector
from app.flexpatch.canvas import CanvasLayout, map_back
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.ingest.source import open_source
from app.offline.annotations import FrameTruth, read_ground_truth, truths_of
from app.offline.evaluation.detection import OperatingPoint, average_precision, best_f1, match
from app.offline.evaluation.outputs import FrameOutput
from app.vision.cpu import CpuVision


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one sequence."""

    method: str
    megapixels_per_frame: float
    ap50: float | None
    """Nothing where no object is annotated; so is `best`."""
    best: OperatingPoint | None
    """At the score threshold of the best F1."""
    n_tracks: int | None


@dataclass(frozen=True, slots=True)
class Sequence:
    """An annotated recording, every `step`-th frame of it."""

    path: Path
    truth: dict[int, FrameTruth]
    step: int
    n_frames: int | None

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Frames with their number in the ground truth."""
        video = self.path / "video.mp4"
        with open_source(str(video if video.exists() else self.path)) as source:
            for index, frame in enumerate(islice(source, 0, None, self.step)):
                if self.n_frames is not None and index >= self.n_frames:
                    return
                yield frame.seq, frame


def whole_frame(sequence: Sequence, detector: Detector, canvas: Size, class_id: int) -> Row:
    """The detector on the whole frame at one canvas size, every frame."""
    vision = CpuVision()
    found = {}
    for number, frame in sequence.frames():
        scale = min(canvas.width / frame.size.width, canvas.height / frame.size.height)
        target = (0, 0, round(frame.size.width * scale), round(frame.size.height * scale))
        source = (0, 0, *frame.size)
        picture = vision.canvas(vision.prepare(frame.picture), [PatchCopy(source, target)], canvas, detector.pad_value)
        layout = CanvasLayout(
            canvas, FrameBoxes(np.array([source], np.float32)), CanvasBoxes(np.array([target], np.float32))
        )
        seen = map_back(layout, detector.detect(picture[np.newaxis])[0], frame.size)
        wanted = seen[seen.class_ids == class_id]
        found[number] = FrameOutput.untracked(clip(wanted.boxes, *frame.size), wanted.scores)
    return _row(f"whole frame {canvas}", canvas.pixels / 1e6, sequence, found, None)


def flexpatch(sequence: Sequence, detector: Detector, config: PipelineConfig, class_id: int) -> Row:
    """The service's own pipeline at one pixel budget."""
    pipeline = Pipeline(CpuVision(), detector, config, hand_set_model(), SystemClock())
    pipeline.focus(frozenset([class_id]), None)
    found, pixels, track_ids = {}, 0, set()
    for number, frame in sequence.frames():
        result = pipeline.step(frame)
        pixels += result.work.detector_pixels
        track_ids |= {item.track_id for item in result.objects if item.score >= 0.3}
        found[number] = FrameOutput(
            FrameBoxes(np.array([item.box for item in result.objects], np.float32).reshape(-1, 4)),
            np.array([item.score for item in result.objects], np.float32),
            np.array([item.track_id for item in result.objects], np.int64),
        )
    name = f"FlexPatch, budget {config.megapixels_per_frame:g}"
    return _row(name, pixels / max(len(found), 1) / 1e6, sequence, found, len(track_ids))


def main(  # noqa: PLR0917 - an option each
    sequences: Annotated[list[Path], typer.Argument(help="Folders with gt/gt.txt and img1/ or video.mp4.")],
    detector: Annotated[Path, typer.Option(help="ONNX file of the detector.")],
    budget: Annotated[str, typer.Option(help="Megapixels a frame, comma-separated.")] = "0.03,0.06,0.1,0.2",
    whole: Annotated[str, typer.Option(help="Canvas sizes of the whole-frame rows, comma-separated.")] = "640x384",
    label: Annotated[str, typer.Option(help="Class that is annotated.")] = "person",
    step: Annotated[int, typer.Option(min=1, help="Take every n-th frame only.")] = 1,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
) -> None:
    """Print accuracy against detector pixels for annotated sequences."""
    console = Console()
    try:
        model = load_detector(detector)
        class_id = model.class_names.index(label)
        for path in sequences:
            sequence = Sequence(path, read_ground_truth(path / "gt" / "gt.txt"), step, frames)
            sizes = [Size(*(int(side) for side in text.split("x"))) for text in whole.split(",") if text]
            rows = [whole_frame(sequence, model, size, class_id) for size in sizes]
            configs = [PipelineConfig(megapixels_per_frame=float(text)) for text in budget.split(",") if text]
            rows += [flexpatch(sequence, model, config, class_id) for config in configs]
            console.print(_table(path.name, rows))
    except (FlexPatchError, ValueError, TypeError) as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(2) from None


def _row(
    method: str, megapixels_per_frame: float, sequence: Sequence, found: dict[int, FrameOutput], n_tracks: int | None
) -> Row:
    matches = match(truths_of(sequence.truth, found), list(found.values()))
    return Row(method, megapixels_per_frame, average_precision(matches), best_f1(matches), n_tracks)


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title)
    for column in ("method", "megapixels a frame", "AP@0.5", "best F1", "precision", "recall", "tracks"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        best = (row.best.f1, row.best.precision, row.best.recall) if row.best else (None, None, None)
        figures = ("" if figure is None else f"{figure:.3f}" for figure in (row.ap50, *best))
        tracks = "" if row.n_tracks is None else str(row.n_tracks)
        table.add_row(row.method, f"{row.megapixels_per_frame:.3f}", *figures, tracks)
    return table


if __name__ == "__main__":
    typer.run(main)
