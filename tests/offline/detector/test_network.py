"""The network, its loss, and the file that comes of it."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed: PyTorch is missing")
torch.set_num_threads(1)

from app.core.types import Size  # noqa: E402
from app.detect.loader import load_detector  # noqa: E402
from app.offline.detector.export import export  # noqa: E402
from app.offline.detector.loss import Targets, generalised_iou, iou, loss_of  # noqa: E402
from app.offline.detector.network import INPUT_SCALE, N_BOX, Network, boxes_of, cells  # noqa: E402

N_CELLS = 16 * 12 + 8 * 6 + 4 * 3
"""Of a canvas of 128 x 96."""


@pytest.fixture
def network() -> Network:
    torch.manual_seed(3)
    fresh = Network(2)
    with torch.no_grad():
        for head in fresh.heads:
            head[-1].weight.normal_(std=0.2)
            head[-1].bias[N_BOX:] = 0.0
    return fresh.eval()


def targets(boxes: list[tuple[float, float, float, float]], classes: list[int], *, ignored: object = ()) -> Targets:
    return Targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(classes, dtype=torch.int64),
        torch.zeros(len(boxes), dtype=torch.int64),
        torch.tensor([list(ignored)] if ignored else [[[0.0, 0, 0, 0]]], dtype=torch.float32),  # type: ignore[call-overload]
    )


def test_it_is_small(network: Network) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000


def test_cells_come_in_the_order_of_predictions(network: Network) -> None:
    centres, strides = cells(96, 128)
    assert network(torch.zeros(1, 3, 96, 128)).shape == (1, N_BOX + 2, N_CELLS)
    assert centres.shape == (N_CELLS, 2)
    assert centres[1].tolist() == [12, 4]
    assert centres[-1].tolist() == [112, 80]
    assert strides.unique_consecutive().tolist() == [8, 16, 32]


def test_what_it_sees_moves_with_the_picture(network: Network) -> None:
    """A patch moved by whole cells of the coarsest stride gives the same predictions there."""
    random = np.random.default_rng(1)
    patch = torch.from_numpy(random.uniform(0, 2, (3, 32, 32)).astype(np.float32))
    seen = []
    for left in (128, 160):
        picture = torch.full((1, 3, 320, 352), 0.9)
        picture[0, :, 128:160, left : left + 32] = patch
        fine = network(picture)[0, :, : 40 * 44].reshape(-1, 40, 44)
        seen.append(fine[:, 16:20, left // 8 : left // 8 + 4].detach())
    assert torch.allclose(*seen, atol=1e-4)


def test_a_perfect_prediction_costs_less_than_any_other() -> None:
    centres, strides = cells(96, 128)
    box = torch.tensor([40.0, 20, 60, 70])
    distances = torch.cat([centres - box[:2], box[2:] - centres], dim=1) / strides[:, None]
    inside = (distances > 0.05).all(1) & (strides == 8)
    perfect = torch.full((1, 6, N_CELLS), -8.0)
    perfect[0, :4] = distances.clamp(min=0.05).log().T
    perfect[0, 4, inside] = 8.0
    there = targets([(40, 20, 60, 70)], [0])
    costs = {"perfect": perfect}
    costs["unseen"] = perfect.clone()
    costs["unseen"][0, 4] = -8
    costs["wrong class"] = perfect[:, [0, 1, 2, 3, 5, 4]]
    costs["wrong box"] = perfect.clone()
    costs["wrong box"][0, :4] += 0.7
    costs["everywhere"] = perfect.clone()
    costs["everywhere"][0, 4] = 8
    totals = {name: float(loss_of(item, there, centres, strides).total) for name, item in costs.items()}
    assert min(totals, key=lambda name: totals[name]) == "perfect"
    assert totals["perfect"] < 0.3 * min(value for name, value in totals.items() if name != "perfect")


def test_an_ignored_region_costs_nothing() -> None:
    centres, strides = cells(96, 128)
    seen = torch.full((1, 6, N_CELLS), -8.0)
    around = ((centres - torch.tensor([50.0, 45])).abs() < torch.tensor([10.0, 25])).all(1)
    seen[0, 4, around] = 5.0
    nothing = loss_of(seen, targets([], []), centres, strides)
    ignored = loss_of(seen, targets([], [], ignored=[[40, 20, 60, 70]]), centres, strides)
    assert float(ignored.total) < 1e-3 < float(nothing.total)


def test_a_tiny_object_between_the_cells_is_still_asked_for() -> None:
    centres, strides = cells(96, 128)
    predictions = torch.full((1, 6, N_CELLS), -4.0, requires_grad=True)
    there = targets([(47, 47, 49, 49)], [0])
    with_boxes = predictions.clone()
    with_boxes.data[0, :4] = np.log(0.4)
    loss = loss_of(with_boxes, there, centres, strides)
    assert float(loss.boxes) > 0


def test_overlaps_are_what_they_are_called() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    assert iou(a, b).tolist() == pytest.approx([1, 1 / 3, 0])
    assert generalised_iou(a, b).tolist() == pytest.approx([1, 1 / 3, -1 / 3])


def test_the_exported_file_sees_what_the_network_sees(network: Network, tmp_path: Path) -> None:
    torch.save({"mean": network.state_dict()}, tmp_path / "checkpoint.pt")
    export(tmp_path / "checkpoint.pt", tmp_path / "net.onnx")
    detector = load_detector(tmp_path / "net.onnx", score_floor=0.3, nms_iou=1.0)
    assert detector.class_names == ("person", "car")
    assert detector.input_sizes.stride == 32
    assert not detector.input_sizes.fixed
    random = np.random.default_rng(2)
    for size in (Size(128, 96), Size(192, 64)):
        canvases = random.integers(0, 256, (2, size.height, size.width, 3), np.uint8)
        pictures = torch.from_numpy(canvases.transpose(0, 3, 1, 2).astype(np.float32)) * INPUT_SCALE
        predictions = network(pictures).detach()
        boxes = boxes_of(predictions, *cells(size.height, size.width))
        scores = predictions[:, N_BOX:].sigmoid()
        for entry, found in enumerate(detector.detect(canvases)):
            best, classes = scores[entry].max(0)
            wanted = best >= 0.3
            assert len(found.boxes) == int(wanted.sum()) > 0
            limits = (size.width, size.height) * 2
            expected = np.column_stack([boxes[entry][wanted].numpy().clip(0, limits), best[wanted].numpy()])
            put_out = np.column_stack([found.boxes.clip(0, limits), found.scores])
            apart = np.abs(expected[:, None] - put_out[None]).max(2)
            assert max(apart.min(0).max(), apart.min(1).max()) < 0.05
            is_clear = ((scores[entry][0] - scores[entry][1]).abs() > 0.01)[wanted].numpy()
            assert np.array_equal(found.class_ids[apart.argmin(1)][is_clear], classes[wanted].numpy()[is_clear])
