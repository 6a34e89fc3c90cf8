"""Vision on a simulated GPU: what it says, what it holds, and what becomes of it when the GPU fails."""

import gc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import pytest

from app.core.errors import GpuMemoryShort, GpuMissing, KernelsNotCompiled
from app.core.types import (
    CanvasOrder,
    FrameBoxes,
    PatchCopy,
    Size,
    YuvPicture,
)
from app.gpu.compiler import KernelFile
from app.gpu.device import Capability, Gpu
from app.gpu.machine import GpuMachine
from app.vision.cpu import CpuFrame, CpuVision
from app.vision.gpu.frames import GpuFrame
from app.vision.gpu.pixels import usual_stream_bytes
from app.vision.moving import MovingVision, Wishes
from app.vision.opening import VisionChoice, VisionOpener
from tests.gpu.driver.build import host_image
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.seeing import MakePicture, assert_alike, boxes, pair, seen
from tests.vision.pictures import bgr, scene, yuv

SMALL = Size(331, 187)
LARGE = Size(1500, 844)
"""Whose luma is reduced."""
PAD = (114, 115, 116)


@dataclass
class Bench:
    """A vision on the simulated GPU, and whether it is to work there."""

    machine: GpuMachine
    is_wanted: bool = True
    is_ordering: bool = True
    failures: list[str] = field(default_factory=list)

    def open(self) -> MovingVision:
        return MovingVision(
            self.machine,
            Wishes(lambda: self.is_wanted, lambda: True, lambda: self.is_ordering),
            lambda error: self.failures.append(type(error).__name__),
        )


@pytest.fixture
def bench(driver: SimulatedDriver) -> Iterator[Bench]:
    machine = GpuMachine(0, Gpu, host_image)
    yield Bench(machine)
    gc.collect()
    machine.close()


@pytest.fixture
def vision(bench: Bench) -> Iterator[MovingVision]:
    with closing(bench.open()) as vision:
        yield vision


@pytest.mark.parametrize("make", [bgr, yuv], ids=["bgr", "planes"])
@pytest.mark.parametrize("size", [SMALL, LARGE, Size(2601, 400)], ids=str)
def test_it_says_what_the_processor_says(vision: MovingVision, size: Size, make: MakePicture) -> None:
    pictures = pair(size, make)
    usual = CpuVision()
    mine = seen(vision, *map(vision.prepare, pictures))
    assert_alike(mine, seen(usual, *map(usual.prepare, pictures)))
    assert vision.place == "gpu"
    assert vision.cell_px == usual.cell_px


def test_planes_may_be_views_whose_rows_lie_apart(vision: MovingVision) -> None:
    first, _ = pair(SMALL, yuv)
    assert isinstance(first, YuvPicture)
    y, u, v = (np.pad(plane, ((0, 0), (0, 13)))[:, :-13] for plane in (first.y, first.u, first.v))
    dense, apart = vision.prepare(first), vision.prepare(YuvPicture(y, u, v))
    np.testing.assert_array_equal(vision.templates(dense, boxes(SMALL)), vision.templates(apart, boxes(SMALL)))


def test_nothing_asked_is_nothing_answered(vision: MovingVision) -> None:
    frame = vision.prepare(pair(SMALL)[0])
    nobody = FrameBoxes(np.zeros((0, 4), np.float32))
    nowhere = np.zeros((0, 2), np.float32)
    flow = vision.flow(frame, frame, nowhere, nowhere)
    assert (flow.points.shape, flow.is_found.shape, flow.min_eigenvalue.shape) == ((0, 2), (0,), (0,))
    assert vision.corners(frame, nobody, (3, 4)).shape == (0, 12, 2)
    assert vision.templates(frame, nobody).shape == (0, 16, 16)


@pytest.mark.parametrize("size", [Size(1, 1), Size(95, 300), Size(300, 53)], ids=str)
def test_tiny_pictures_are_left_to_the_processor(vision: MovingVision, size: Size) -> None:
    picture = bgr(scene(size))
    assert isinstance(vision.prepare(picture), CpuFrame)
    assert vision.device_bytes == 0


def test_points_may_be_followed_from_what_is_known_to_be_lost(vision: MovingVision) -> None:
    earlier, later = map(vision.prepare, pair(SMALL))
    points = np.array([[50, 50], [np.nan, 3], [1e9, -1e9]], np.float32)
    flow = vision.flow(earlier, later, points, points)
    assert flow.is_found.tolist() == [True, False, False]
    assert np.isfinite(flow.round_trip_px).all()


# ------------------------------------------------------------------------------------------------- canvases

COPIES = [PatchCopy((10, 11, 300, 180), (0, 0, 120, 80)), PatchCopy((100, 40, 140, 90), (120, 0, 180, 64))]


@pytest.mark.parametrize("make", [bgr, yuv], ids=["bgr", "planes"])
def test_canvases_are_drawn_where_the_picture_lies(vision: MovingVision, make: MakePicture) -> None:
    picture = pair(SMALL, make)[0]
    order = vision.canvas(vision.prepare(picture), COPIES, Size(192, 96), PAD)
    assert isinstance(order, CanvasOrder)
    assert order.resident is not None
    assert len(order.resident.planes) == (1 if make is bgr else 3)
    usual = CpuVision()
    np.testing.assert_array_equal(order.draw(), usual.canvas(usual.prepare(picture), COPIES, Size(192, 96), PAD))


def test_canvases_are_drawn_here_for_detectors_that_do_not(bench: Bench, vision: MovingVision) -> None:
    bench.is_ordering = False
    picture = pair(SMALL)[0]
    drawn = vision.canvas(vision.prepare(picture), COPIES, Size(192, 96), PAD)
    usual = CpuVision()
    assert isinstance(drawn, np.ndarray)
    np.testing.assert_array_equal(drawn, usual.canvas(usual.prepare(picture), COPIES, Size(192, 96), PAD))


def test_a_picture_stays_as_long_as_a_canvas_is_to_be_made_of_it(bench: Bench, driver: SimulatedDriver) -> None:
    vision = bench.open()
    frame = vision.prepare(pair(SMALL)[0])
    order = vision.canvas(frame, COPIES, Size(192, 96), PAD)
    vision.close()
    del frame
    assert isinstance(order, CanvasOrder)
    assert driver.live()["memory"] == 1
    del order
    assert "memory" not in driver.live()


# --------------------------------------------------------------------------------------------------- memory


def test_memory_goes_round(vision: MovingVision, driver: SimulatedDriver) -> None:
    earlier = vision.prepare(pair(LARGE)[0])
    held: list[int] = []
    for _ in range(12):
        later = vision.prepare(pair(LARGE)[1])
        seen(vision, earlier, later)
        earlier = later
        held.append(driver.used_bytes)
    assert len(set(held[1:])) == 1
    assert vision.device_bytes <= driver.used_bytes


def test_who_admits_streams_is_told_what_they_come_to_hold(bench: Bench) -> None:
    pictures = pair(Size(1920, 1080))
    with closing(bench.open()) as vision:
        looked_at = vision.prepare(pictures[0])
        order = vision.canvas(looked_at, COPIES, Size(192, 96), PAD)
        earlier = looked_at
        for n in range(4):
            later = vision.prepare(pictures[n % 2])
            vision.motion_map(earlier, later, None)
            vision.edge_map(later)
            earlier = later
        assert 0.7 * usual_stream_bytes() < vision.device_bytes <= usual_stream_bytes() + 100_000
        del looked_at, order


def test_frames_of_one_kind_follow_those_of_another(vision: MovingVision, driver: SimulatedDriver) -> None:
    """As pushed JPEG and PNG pictures do, and as cameras do that change their size."""
    usual = CpuVision()
    for first, second in ((bgr, yuv), (yuv, bgr)):
        earlier, later = pair(SMALL, first)[0], pair(SMALL, second)[1]
        mine = seen(vision, vision.prepare(earlier), vision.prepare(later))
        assert_alike(mine, seen(usual, usual.prepare(earlier), usual.prepare(later)))
    gc.collect()
    assert driver.live()["memory"] <= 4


def test_all_is_given_back_in_the_end(bench: Bench, driver: SimulatedDriver) -> None:
    with closing(bench.open()) as vision:
        seen(vision, *map(vision.prepare, pair(SMALL)))
        assert driver.live()["stream"] == 1
    assert driver.live().keys() == {"module", "context"}
    vision.close()


# --------------------------------------------------------------------------------- to the GPU and away from it


def test_it_moves_to_the_gpu_when_its_detector_does(bench: Bench, vision: MovingVision) -> None:
    bench.is_wanted = False
    pictures = pair(SMALL)
    earlier = vision.prepare(pictures[0])
    assert isinstance(earlier, CpuFrame)
    bench.is_wanted = True
    later = vision.prepare(pictures[1])
    assert isinstance(later, GpuFrame)
    usual = CpuVision()
    assert_alike(seen(vision, earlier, later), seen(usual, *map(usual.prepare, pictures)))
    order = vision.canvas(earlier, COPIES, Size(192, 96), PAD)
    assert isinstance(order, CanvasOrder)
    assert order.resident


def test_it_leaves_the_gpu_when_its_detector_does_and_comes_back(
    bench: Bench, vision: MovingVision, driver: SimulatedDriver
) -> None:
    pictures = pair(SMALL)
    usual = CpuVision()
    expected = seen(usual, *map(usual.prepare, pictures))
    earlier = vision.prepare(pictures[0])
    bench.is_wanted = False
    later = vision.prepare(pictures[1])
    assert isinstance(later, CpuFrame)
    assert_alike(seen(vision, earlier, later), expected)
    assert driver.live().get("memory") == 1, "what the frame holds"
    bench.is_wanted = True
    assert isinstance(vision.prepare(pictures[0]), GpuFrame)
    assert_alike(seen(vision, earlier, later), expected)
    assert bench.failures == []


def test_a_gpu_that_was_short_of_memory_once_is_asked_again(driver: SimulatedDriver) -> None:
    driver.fail("cuModuleLoadData", "CUDA_ERROR_OUT_OF_MEMORY", after_n_calls=1)
    with closing(GpuMachine(0, Gpu, host_image)) as machine:
        kernels = machine.opened().kernels
        with pytest.raises(GpuMemoryShort):
            kernels.kernel("planes", "halve_luma")
        kernels.kernel("planes", "halve_luma")


def test_what_was_sent_for_the_change_is_let_go_of(bench: Bench, vision: MovingVision, driver: SimulatedDriver) -> None:
    pictures = pair(SMALL)
    bench.is_wanted = False
    earlier = vision.prepare(pictures[0])
    bench.is_wanted = True
    later = vision.prepare(pictures[1])
    vision.motion_map(earlier, later, None)
    vision.edge_map(earlier)
    held = driver.live()["memory"]
    del earlier
    vision.prepare(pictures[0])
    assert driver.live()["memory"] == held, "the block of the frame that nobody needs is used again"


@pytest.mark.parametrize("after_n_calls", [0, 1, 2])
@pytest.mark.parametrize(
    "failure",
    [
        ("cuLaunchKernel", "LAUNCH_FAILED"),
        ("cuStreamSynchronize", "ILLEGAL_ADDRESS"),
        ("cuMemcpyHtoDAsync", "INVALID_VALUE"),
        ("cuMemAlloc", "OUT_OF_MEMORY"),
    ],
)
def test_what_fails_there_is_done_here(
    vision: MovingVision, bench: Bench, driver: SimulatedDriver, failure: tuple[str, str], after_n_calls: int
) -> None:
    function, name = failure
    pictures = pair(SMALL)
    usual = CpuVision()
    expected = seen(usual, *map(usual.prepare, pictures))
    driver.fail(function, f"CUDA_ERROR_{name}", after_n_calls)
    assert_alike(seen(vision, *map(vision.prepare, pictures)), expected)
    assert bench.failures == ["GpuMemoryShort" if function == "cuMemAlloc" else "GpuFailed"]
    assert isinstance(vision.prepare(pictures[0]), CpuFrame)


def test_a_lost_gpu_is_done_without_in_the_middle_of_a_stream(
    bench: Bench, vision: MovingVision, driver: SimulatedDriver
) -> None:
    pictures = pair(SMALL)
    earlier, later = map(vision.prepare, pictures)
    driver.lose_device()
    usual = CpuVision()
    assert_alike(seen(vision, earlier, later), seen(usual, *map(usual.prepare, pictures)))
    order = vision.canvas(later, COPIES, Size(192, 96), PAD)
    assert isinstance(order, CanvasOrder)
    assert order.resident is None
    assert bench.failures == ["GpuFailed"]


def test_orders_that_were_given_can_be_drawn_when_the_gpu_is_lost(
    vision: MovingVision, driver: SimulatedDriver
) -> None:
    order = vision.canvas(vision.prepare(pair(SMALL)[0]), COPIES, Size(192, 96), PAD)
    driver.lose_device()
    assert isinstance(order, CanvasOrder)
    assert order.draw().shape == (96, 192, 3)


# -------------------------------------------------------------------------------------------- which one it is


class Detector:
    """As much of one as is asked."""

    def __init__(self, *, draws: bool, may_draw: bool | None = None) -> None:
        self.draws = draws
        self.may_draw = draws if may_draw is None else may_draw


def test_the_vision_is_on_the_gpu_where_the_detector_is(bench: Bench) -> None:
    opener = VisionOpener("auto", bench.machine, lambda: True, lambda _: None)
    for draws in (False, True):
        with closing(opener.open(Detector(draws=draws))) as vision:  # type: ignore[arg-type]
            assert isinstance(vision.prepare(pair(SMALL)[0]), GpuFrame if draws else CpuFrame)


@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_operator_may_keep_it_on_the_processor(bench: Bench, has_gpu: bool) -> None:
    opener = VisionOpener("cpu", bench.machine, lambda: has_gpu, lambda _: None)
    with closing(opener.open(Detector(draws=has_gpu))) as vision:  # type: ignore[arg-type]
        frame = vision.prepare(pair(SMALL)[0])
        assert isinstance(frame, CpuFrame)
        canvas = vision.canvas(frame, COPIES, Size(192, 96), PAD)
        assert isinstance(canvas, CanvasOrder if has_gpu else np.ndarray)


def test_the_operator_may_demand_the_gpu(bench: Bench) -> None:
    opener = VisionOpener("gpu", bench.machine, lambda: False, lambda _: None)
    with closing(opener.open(Detector(draws=False))) as vision:  # type: ignore[arg-type]
        frame = vision.prepare(pair(SMALL)[0])
        assert isinstance(frame, GpuFrame)
        assert isinstance(vision.canvas(frame, COPIES, Size(192, 96), PAD), np.ndarray)


def test_a_gpu_that_is_demanded_must_be_there(driver: SimulatedDriver) -> None:
    driver.set_devices(0)
    with pytest.raises(GpuMissing, match=r"vision is gpu, and cannot be: .* Set it to auto or cpu\."):
        VisionOpener("gpu", GpuMachine(0, Gpu, host_image), lambda: False, lambda _: None)


def test_the_first_stream_waits_for_no_compiler() -> None:
    compiled: list[str] = []

    def compile_file(name: KernelFile, capability: Capability) -> bytes:
        compiled.append(name)
        return host_image(name, capability)

    with closing(GpuMachine(0, Gpu, compile_file)) as machine:
        opener = VisionOpener("auto", machine, lambda: True, lambda _: None)
        assert compiled == ["canvas", "planes", "flow", "texture", "maps"]
        for _ in range(2):
            with closing(opener.open(Detector(draws=True))) as vision:  # type: ignore[arg-type]
                assert isinstance(vision.prepare(pair(SMALL)[0]), GpuFrame)
        assert len(compiled) == 5


def test_without_kernels_streams_go_on_here() -> None:
    failures: list[str] = []

    def compile_file(name: KernelFile, capability: Capability) -> bytes:
        if name == "planes":
            raise KernelsNotCompiled(f"{name} for {capability}: not this one")
        return host_image(name, capability)

    with closing(GpuMachine(0, Gpu, compile_file)) as machine:
        opener = VisionOpener("auto", machine, lambda: True, lambda error: failures.append(str(error)))
        with closing(opener.open(Detector(draws=True))) as vision:  # type: ignore[arg-type]
            assert isinstance(vision.prepare(pair(SMALL)[0]), CpuFrame)
        assert failures == ["planes for (8, 9): not this one"]
        with pytest.raises(KernelsNotCompiled):
            VisionOpener("gpu", machine, lambda: True, lambda _: None)


def test_room_is_asked_for_those_alone_that_may_come_to_need_it(driver: SimulatedDriver) -> None:
    here, there, not_yet = Detector(draws=False), Detector(draws=True), Detector(draws=False, may_draw=True)
    with closing(GpuMachine(0, Gpu, host_image)) as machine:
        free = machine.opened().gpu.memory().free

        def opener(choice: VisionChoice, n_streams: float) -> VisionOpener:
            reserve_bytes = free - int(n_streams * usual_stream_bytes())
            return VisionOpener(choice, machine, lambda: True, lambda _: None, reserve_bytes)

        for choice, detector, is_refused in (
            ("auto", here, False),
            ("auto", there, True),
            ("auto", not_yet, True),
            ("cpu", there, False),
            ("gpu", here, True),
        ):
            full = opener(choice, 0.5)  # type: ignore[arg-type]
            if is_refused:
                with pytest.raises(GpuMemoryShort):
                    full.check_room(detector)  # type: ignore[arg-type]
            else:
                full.check_room(detector)  # type: ignore[arg-type]
        for_two = opener("auto", 2.5)
        visions = []
        for detector in (here, there, here, not_yet, here):
            for_two.check_room(detector)  # type: ignore[arg-type]
            visions.append(for_two.open(detector))  # type: ignore[arg-type]
        with pytest.raises(GpuMemoryShort):
            for_two.check_room(there)  # type: ignore[arg-type]
        not_yet.may_draw = False
        for_two.check_room(there)  # type: ignore[arg-type]
        visions[1].prepare(bgr(scene(Size(10, 10))))
        not_yet.may_draw = True
        for_two.check_room(there)  # type: ignore[arg-type]
        for vision in visions:
            vision.close()
    del driver
