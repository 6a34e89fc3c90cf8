"""From a checkpoint to the ONNX file that is shipped."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from app.offline.detector.calibration import Curve
from app.offline.detector.labels import CLASSES
from app.offline.detector.network import INPUT_SCALE, N_BOX, Network
from app.offline.output import unfinished_file


class Exported(nn.Module):
    """The network with its preprocessing: bytes in; out what YOLOX puts out, so that only what is kept gets decoded.

    Decoding all cells of any size in the graph takes a hundred small steps more.
    """

    def __init__(self, network: Network, curves: Sequence[Curve]) -> None:
        """Takes the network over: its first convolution will want bytes.

        Args:
            curves: for each class, what its scores are worth.
        """
        super().__init__()
        self.network = network
        shape = (1, len(curves), 1)
        self.register_buffer("slopes", torch.tensor([curve.slope for curve in curves]).reshape(shape))
        self.register_buffer("offsets", torch.tensor([curve.offset for curve in curves]).reshape(shape))
        with torch.no_grad():
            network.stem[0][0].weight.mul_(INPUT_SCALE)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) BGR to (B, N, 5 + C).

        A row holds the box's centre from its cell's corner and the logarithm of its size, in strides; the best class's
        score; and each class's share of it.
        """
        raw = self.network(images.float())
        left_up, right_down = raw[:, :N_BOX].clamp(-4, 4).exp().split(2, dim=1)
        centre = (right_down - left_up) * 0.5 + 0.5
        size = (left_up + right_down).log()
        scores = (raw[:, N_BOX:] * self.slopes + self.offsets).sigmoid()
        best = scores.amax(1, keepdim=True).clamp_min(1e-9)
        return torch.cat([centre, size, best, scores / best], dim=1).transpose(1, 2)


def export(checkpoint: Path, target: Path, curves: Sequence[Curve] | None = None) -> None:
    """Write the running mean of the weights as ONNX, normalisation folded into the convolutions.

    Args:
        curves: for each class, what its scores are worth; None: they are left as they are.
    """
    network = Network(len(CLASSES))
    network.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["mean"])
    exported = Exported(network, curves or [Curve()] * len(CLASSES)).eval()
    axes = {0: "batch", 2: "height", 3: "width"}
    with unfinished_file(target) as draft:
        with warnings.catch_warnings():
            # Tracing is what gives dynamic sizes here; its successor is announced as a warning.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                exported,
                (torch.zeros(1, 3, 128, 192, dtype=torch.uint8),),
                str(draft),
                dynamo=False,
                input_names=["images"],
                output_names=["predictions"],
                dynamic_axes={"images": axes, "predictions": {0: "batch", 1: "cells"}},
                opset_version=17,
            )
        model = onnx.load(str(draft))
        onnx.helper.set_model_props(model, {"names": repr(dict(enumerate(CLASSES)))})
        onnx.checker.check_model(model)
        onnx.save(model, str(draft))
