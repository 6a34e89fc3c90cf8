"""How many cameras this machine carries, and what gives first: `make capacity`.

Adds one camera after the other to a real service and prints, as JSON, what each number of them comes to. The cameras
send a recording as it is, in the measuring process; their share of the processors is in the report.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.detect.cores import available_cores
from app.ingest.camera.feed import convert
from tests.soak.rig import at_least_one, camera, cpu_s, quantiles, service

_FETCH_EVERY_S = 1.0
_WARM_UP_S = 12.0
"""After a camera was added: models are in memory, lateness has been answered by thrift, or not."""


@dataclass(slots=True)
class Stretch:
    """What came from all sessions while so many cameras were watched."""

    results: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    """The newest result of each session that is known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cameras", type=at_least_one, nargs="+", default=[1, 2, 4, 6, 8, 10, 12], help="numbers to try"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of measurement for each number")
    parser.add_argument("--source", default="synthetic:1920x1080@15?objects=20&seed=3&frames=150")
    parser.add_argument("--detector", default=None, help="None: the shipped one")
    options = parser.parse_args()
    json.dump({"cores": available_cores(), "source": options.source, "rows": list(run(options))}, sys.stdout, indent=1)
    sys.stdout.write("\n")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each number of cameras."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        recording = folder / "street.mp4"
        convert(options.source, recording)
        url = stack.enter_context(camera(recording)).url
        pid, api = stack.enter_context(service(folder, max_sessions=max(options.cameras)))
        names: list[str] = []
        for n_cameras in sorted(options.cameras):
            while len(names) < n_cameras:
                names.append(f"cam-{len(names)}")
                document = {"id": names[-1], "source": {"kind": "rtsp", "url": url}, "detector": options.detector}
                api.post("/sessions", json=document).raise_for_status()
            stretch = Stretch()
            _watch(api, stretch, names, _WARM_UP_S)
            stretch.results.clear()
            before, began_s, own_s = cpu_s(pid), time.monotonic(), time.process_time()
            _watch(api, stretch, names, options.seconds)
            took_s = time.monotonic() - began_s
            thrift = [api.get(f"/sessions/{name}").json()["thrift"] for name in names]
            yield _row(n_cameras, stretch.results, took_s) | {
                "thrift": dict(sorted(Counter(thrift).items())),
                "service_cores": round((cpu_s(pid) - before) / took_s, 2),
                "cameras_cores": round((time.process_time() - own_s) / took_s, 2),
            }
            sys.stderr.write(f"{n_cameras} cameras done\n")


def _watch(api: httpx.Client, stretch: Stretch, names: Sequence[str], seconds: float) -> None:
    """Fetch every result that comes within so many seconds."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        time.sleep(_FETCH_EVERY_S)
        for name in names:
            answer = api.get(f"/sessions/{name}/results", params={"after_seq": stretch.seen.get(name, 0)}).json()
            stretch.results += answer["results"]
            if answer["results"]:
                stretch.seen[name] = answer["results"][-1]["seq"]


def _row(n_cameras: int, results: Sequence[dict[str, Any]], took_s: float) -> dict[str, Any]:
    stages: dict[str, list[float]] = {}
    for result in results:
        for stage, ms in result["stage_ms"].items():
            stages.setdefault(stage, []).append(ms)
    n_dropped = sum(result["dropped_since_last"] for result in results)
    return {
        "cameras": n_cameras,
        "fps_each": round(len(results) / took_s / n_cameras, 2),
        "age_ms": quantiles([result["age_ms"] for result in results]),
        "dropped_share": round(n_dropped / max(1, n_dropped + len(results)), 4),
        "megapixels_per_frame": round(float(np.mean([r["work"]["detector_pixels"] for r in results])) / 1e6, 4),
        "looks_share": round(float(np.mean([r["work"]["canvas"] is not None for r in results])), 4),
        "stage_ms_p50": {stage: round(float(np.median(found)), 2) for stage, found in stages.items()},
        "detect_ms": quantiles(stages.get("detect", [])),
    }


if __name__ == "__main__":
    main()
