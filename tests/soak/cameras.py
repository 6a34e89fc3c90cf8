"""Cameras that fail at random before a real service, and what that does to it: `make soak`.

Prints one JSON document: recoveries, frame rates of the sessions that were left alone, and what the service's process
holds at the end that it did not hold at the beginning.
"""

import argparse
import json
import math
import random
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from app.ingest.camera.faults import MOMENTARY, Fault, Kind
from app.ingest.camera.feed import convert
from tests.soak.rig import RunningCamera, at_least_one, camera, holdings, quantiles, service

_ASK_EVERY_S = 0.25
_SAMPLE_EVERY_S = 5.0
_BASELINE_S = 20.0
"""After which the service has allocated what it needs."""
_CALM_S = 10.0
"""At the end, for all cameras to come back."""
_LOST_S = 60.0
"""A session that shows nothing for so long after its fault does not come back by itself."""
_FPS = 15


@dataclass(slots=True)
class Watched:
    """A camera, its session, and the fault that it has or gets over."""

    name: str
    camera: "RunningCamera"
    kind: Kind | None = None
    ends_s: float = 0.0
    """When the fault is over."""
    seq_then: int = -1
    """Newest result when it was over; -1: not yet."""
    rates: list[float] = field(default_factory=list)
    """Results a second, while it was left alone."""
    last: tuple[float, int] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=at_least_one, default=8)
    parser.add_argument("--faults", type=at_least_one, default=200)
    parser.add_argument("--flapping", type=at_least_one, default=None, help="cameras that fail; default: all")
    parser.add_argument("--minutes", type=float, default=None, help="run for so long, with faults as they come")
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between two faults")
    parser.add_argument("--source", default=f"synthetic:640x360@{_FPS}?objects=8&seed=3&frames={10 * _FPS}")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    json.dump(run(options), sys.stdout, indent=1)
    sys.stdout.write("\n")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement."""
    chance = random.Random(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        recording = folder / "street.mp4"
        convert(options.source, recording)
        watched = [Watched(f"cam-{n}", stack.enter_context(camera(recording))) for n in range(options.cameras)]
        # Few results are kept, so that what memory grows by is no longer them.
        pid, api = stack.enter_context(service(folder, result_log_size=50))
        for item in watched:
            made = api.post("/sessions", json={"id": item.name, "source": {"kind": "rtsp", "url": item.camera.url}})
            made.raise_for_status()
        time.sleep(_BASELINE_S)
        before = holdings(pid)
        soak = _Soak(watched, api, pid, chance, options)
        soak.run()
        after = holdings(pid)
        report = soak.report() | {"before": asdict(before), "after": asdict(after)}
        for item in watched:
            api.delete(f"/sessions/{item.name}").raise_for_status()
        time.sleep(1.0)
        return report | {"without_sessions": asdict(holdings(pid))}


class _Soak:
    def __init__(
        self, watched: list[Watched], api: httpx.Client, pid: int, chance: random.Random, options: argparse.Namespace
    ) -> None:
        self._watched, self._api, self._pid, self._chance = watched, api, pid, chance
        self._flapping = watched[: options.flapping or len(watched)]
        self._n_faults = options.faults if options.minutes is None else math.inf
        self._until_s = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
        self._pause_s = options.pause
        self._recoveries: dict[str, list[float]] = {}
        self._lost: list[str] = []
        self._memory: list[tuple[float, float]] = []
        self._ages: list[float] = []
        self._counts: Counter[str] = Counter()

    def run(self) -> None:
        began_s = time.monotonic()
        next_fault_s = next_sample_s = began_s
        ends_s = math.inf
        while (now_s := time.monotonic()) < ends_s:
            self._look(now_s)
            if now_s >= next_sample_s:
                self._memory.append((now_s - began_s, holdings(self._pid).rss_mb))
                next_sample_s = now_s + _SAMPLE_EVERY_S
            is_over = sum(self._counts.values()) >= self._n_faults or now_s >= self._until_s
            if is_over and ends_s == math.inf:
                ends_s = now_s + _CALM_S + max(0.0, *(item.ends_s - now_s for item in self._watched))
            elif not is_over and now_s >= next_fault_s and (free := [w for w in self._flapping if w.kind is None]):
                self._break(self._chance.choice(free), now_s)
                next_fault_s = now_s + self._chance.expovariate(1 / self._pause_s)
            time.sleep(_ASK_EVERY_S)

    def _break(self, item: Watched, now_s: float) -> None:
        kind = self._chance.choice(list(Kind))
        seconds = self._chance.uniform(0.5, 8.0)
        by_s = {Kind.PTS_JUMP: self._chance.choice([-3600.0, 30.0, 86400.0]), Kind.SLOW_START: seconds}.get(kind, 0.0)
        share = {Kind.LOSS: 0.2, Kind.GARBAGE: 1.0}.get(kind, 1.0)
        fault = Fault(kind, seconds=seconds, by_s=by_s, share=share)
        item.camera.call(lambda camera: camera.add_fault(fault))
        if kind in {Kind.UNAUTHORISED, Kind.SLOW_START}:
            # They show only when a client connects.
            item.camera.call(lambda camera: camera.add_fault(Fault(Kind.RESET)))
        item.kind, item.seq_then = kind, -1
        item.ends_s = now_s + (0.0 if kind in MOMENTARY else seconds)
        self._counts[kind] += 1

    def _look(self, now_s: float) -> None:
        sessions = {session["id"]: session for session in self._api.get("/sessions").json()["sessions"]}
        for item in self._watched:
            session = sessions[item.name]
            seq, processed = session["last_seq"], session["frames"]["processed"]
            if item.kind is None:
                if item.last is not None and now_s - item.last[0] >= 2.0:
                    item.rates.append((processed - item.last[1]) / (now_s - item.last[0]))
                    item.last = (now_s, processed)
                    self._note_age(item)
                item.last = item.last or (now_s, processed)
                continue
            item.last = None
            if now_s < item.ends_s:
                continue
            if item.seq_then < 0:
                item.seq_then = seq
            elif seq > item.seq_then + 3 and session["state"] == "running":
                self._recoveries.setdefault(item.kind, []).append(now_s - item.ends_s)
                item.kind = None
            elif now_s - item.ends_s > _LOST_S:
                self._lost.append(f"{item.name}: {item.kind}: {session['state']}: {session['reason']}")
                item.kind = None

    def _note_age(self, item: Watched) -> None:
        answer = self._api.get(f"/sessions/{item.name}/results/latest")
        if answer.status_code == 200 and answer.json()["age_ms"] is not None:
            self._ages.append(answer.json()["age_ms"])

    def report(self) -> dict[str, Any]:
        every = [seconds for found in self._recoveries.values() for seconds in found]
        times, sizes = np.array(self._memory).T
        return {
            "faults": dict(self._counts),
            "never_recovered": self._lost,
            "recovery_s": quantiles(every),
            "recovery_s_by_fault": {kind: quantiles(found) for kind, found in sorted(self._recoveries.items())},
            "undisturbed_fps": {item.name: quantiles(item.rates) for item in self._watched if item.rates},
            "age_ms": quantiles(self._ages),
            "rss_mb_per_hour": _slope_per_hour(times, sizes),
            "rss_mb_per_hour_second_half": _slope_per_hour(times[len(times) // 2 :], sizes[len(times) // 2 :]),
            "seconds": round(float(times[-1]), 1),
            "dropped": _dropped(self._api.get("/metrics").text),
        }


def _slope_per_hour(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> float | None:
    return round(float(np.polyfit(times_s, values, 1)[0]) * 3600, 1) if len(times_s) > 2 else None


def _dropped(exposition: str) -> dict[str, float]:
    found = re.findall(r'^flexpatch_frames_total\{outcome="dropped",reason="(\w+)"\} (\S+)', exposition, re.MULTILINE)
    return {reason: float(count) for reason, count in found}


if __name__ == "__main__":
    main()
