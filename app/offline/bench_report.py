"""A benchmark's report, for people as tables and for machines as one JSON object."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields

from rich.console import Group, RenderableType
from rich.table import Table

from app.offline.bench import STAGES, BenchReport
from app.offline.timing import Times

_NAMES = {"own": "everything but decode and detector", "total": "everything (detector: oracle)"}
_DECIMALS = 4


def as_json(report: BenchReport) -> dict[str, object]:
    """Every number of the report, with its unit in its name."""
    document = {field.name: getattr(report, field.name) for field in fields(report)}
    document["stages"] = {name: asdict(times) for name, times in report.stages.items()}
    document["detector"] = asdict(report.detector)
    document["http"] = asdict(report.http)
    document["sustained"] = asdict(report.sustained)
    return {name: _rounded(value) for name, value in document.items()}


def tables(report: BenchReport) -> RenderableType:
    """The report as rich draws it."""
    return Group(*_tables(report))


def _tables(report: BenchReport) -> Iterator[RenderableType]:
    yield (
        f"{report.resolution}, {report.tracks_mean:.1f} tracks on average (wanted {report.tracks_wanted}), "
        f"{report.n_cores} cores at a load of {report.load_average:.1f} before, {report.n_repetitions} × "
        f"{report.n_frames} frames after {report.n_warm_up_frames} to warm up, "
        f"JPEG of {report.jpeg_mean_bytes / 1e3:.0f} kB; {report.detector_calls_per_frame:.2f} detector "
        f"calls and {report.detector_megapixels_per_frame:.3f} megapixels a frame."
    )
    stages = _table("Stage", "median ms", "p99 ms", "frames")
    for name in (*STAGES, "own", "total"):
        if name != "detect":
            _row(stages, _NAMES.get(name, name), report.stages[name])
    yield stages
    canvases = _table(f"{report.detector.name} on {report.detector.backend}", "median ms", "p99 ms", "runs")
    for item in report.detector.canvases:
        _row(canvases, str(item.canvas), item.wall)
    yield canvases
    http = _table(f"One frame of {report.jpeg_mean_bytes / 1e3:.0f} kB to its result", "median ms", "p99 ms", "frames")
    _row(http, "handed to the session directly", report.http.direct)
    for body, times in report.http.bodies.items():
        _row(http, f"HTTP, {body} body", times.round_trip)
        _row(http, f"   added by HTTP, {body} body", times.added)
    yield http
    estimate = report.sustained
    yield (
        f"Streams sustained at {estimate.fps:g} frames/s: {estimate.streams:.1f} "
        f"at {estimate.cpu_ms_per_frame:.1f} ms of processor time a frame. Estimated: {estimate.how}."
    )


def _table(*columns: str) -> Table:
    table = Table(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _row(table: Table, name: str, times: Times) -> None:
    table.add_row(name, f"{times.median_ms:.2f}", f"{times.p99_ms:.2f}", str(times.n))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
