"""Every method on every sequence at every frame rate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from app.core.errors import SettingsError, SourceError
from app.core.types import Detector
from app.flexpatch.failure import FailureModel
from app.offline.evaluation.catalogue import Sweep, methods_for
from app.offline.evaluation.judge import MethodRun, Row, judge
from app.offline.evaluation.looks import Looks
from app.offline.evaluation.methods import Context
from app.offline.evaluation.published.priority import PriorityTree
from app.offline.evaluation.sequences import AnnotatedSequence, thinned


@dataclass(frozen=True, slots=True)
class Subject:
    """The detector under evaluation, and what its tracks are judged by."""

    detector: Detector
    digest: str
    """Tells detectors apart, so that what one saw is never taken for another's."""
    label: str
    """The class that is annotated."""
    failure_model: FailureModel
    priority_tree: PriorityTree | None = None
    """Of the published FlexPatch; only that needs one."""

    @property
    def class_id(self) -> int:
        """
        Raises:
            SettingsError: the detector does not know the class.
        """
        names = self.detector.class_names
        if self.label not in names:
            known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
            raise SettingsError(f"The detector knows no class {self.label!r}; it knows {known}.")
        return names.index(self.label)


Advance = Callable[[str, int, int], object]
"""Told what is being run, how many frames of it are done, and how many there are."""


def evaluate(
    sequences: Sequence[AnnotatedSequence],
    subject: Subject,
    sweep: Sweep,
    *,
    frame_rates: Sequence[float] = (),
    cache: Path | None = None,
    advance: Advance = lambda _name, _done, _total: None,
) -> Iterator[Row]:
    """Run and judge, a sequence at a time.

    Args:
        frame_rates: frames a second at which each sequence is run, besides its own; higher ones than that are
            left out.
        cache: folder for what the detector saw on regions that do not hang on what it saw before; None: no memory.
    Raises:
        SettingsError: the detector does not know the class, or does not take a canvas; two sequences have one name; the
            cache cannot be written.
        SourceError: a frame cannot be read, or there is none.
        DetectorFailed: inference failed.
    """
    class_id = subject.class_id
    _check_names(sequences)
    if cache:
        _prepare_cache(cache)
    for sequence in sequences:
        folder = cache / f"{sequence.digest}-{subject.digest}" if cache else None
        looks = Looks(subject.detector, folder)
        for version in _versions(sequence, frame_rates):
            context = Context(version, subject.detector, looks, class_id, subject.failure_model, subject.priority_tree)
            yield from _run_all(context, sweep, advance)
            looks.save()


def _check_names(sequences: Sequence[AnnotatedSequence]) -> None:
    names = [sequence.name for sequence in sequences]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"Two sequences are called {twice[0]}: rename one, or the report would mix them.")


def _prepare_cache(folder: Path) -> None:
    """Say at once, not after hours of work, that nothing can be kept there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"Nothing can be kept in {folder} ({error.strerror}): name another --cache.") from error


def _versions(sequence: AnnotatedSequence, frame_rates: Sequence[float]) -> list[AnnotatedSequence]:
    """The sequence at each frame rate, once each; its own rate first."""
    found = [sequence, *(thinned(sequence, fps) for fps in frame_rates)]
    return list({version.step: version for version in found if version}.values())


def _run_all(context: Context, sweep: Sweep, advance: Advance) -> Iterator[Row]:
    """All methods side by side, so that each frame is decoded once."""
    sequence = context.sequence
    methods = methods_for(sweep, sequence.size, context.detector.input_sizes)
    runners = [method.make(context) for method in methods]
    runs = [MethodRun() for _ in methods]
    name = f"{sequence.name}, {sequence.fps:g} fps"
    # Nothing is decoded ahead: it would take time from what is measured.
    for index, frame in enumerate(sequence.frames()):
        advance(name, index, sequence.n_frames)
        for runner, run in zip(runners, runs, strict=True):
            output, cost = runner.step(frame)
            run.numbers.append(frame.seq)
            run.frame_s.append(frame.pts_s)
            run.outputs.append(output)
            run.costs.append(cost)
    advance(name, sequence.n_frames, sequence.n_frames)
    if not all(run.numbers for run in runs):
        raise SourceError(f"{sequence.source} has no frames.")
    for method, run in zip(methods, runs, strict=True):
        yield judge(
            run,
            sequence.truth,
            sequence=sequence.name,
            fps=sequence.fps,
            method=method.name,
            config=method.config,
        )
