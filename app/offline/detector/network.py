"""The shipped detector's network: anchor-free, single stage, plain convolutions that every runtime is quick at.

A backbone with cross-stage partial blocks (Wang et al., 2020), a top-down and bottom-up neck with depth-wise 5 × 5
convolutions, and one small head for each of the strides 8, 16 and 32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
INPUT_SCALE = 1 / 128
"""From bytes. Nothing is subtracted, so that the first convolution can take the factor into its weights."""
N_BOX = 4
Levels = tuple[Tensor, Tensor, Tensor]
"""What the heads look at: (B, neck, H / s, W / s) for the strides s."""
_PRIOR = 0.01
"""What a fresh network says of every cell: nothing there."""
_TYPICAL_SIDE = 1.2
"""What it says of every box: its sides lie so many strides from the cell's centre."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths and depths; 0.8 M parameters as it is, most where few cells are."""

    widths: tuple[int, int, int, int, int] = (16, 24, 48, 96, 192)
    """Channels at strides 2, 4, 8, 16, 32."""
    depths: tuple[int, int, int] = (1, 2, 2)
    """Blocks at strides 8, 16, 32."""
    neck: int = 48


class Network(nn.Module):
    """Pictures (B, 3, H, W) BGR, times `INPUT_SCALE`, sides multiples of 32, to one prediction for each cell."""

    def __init__(self, n_classes: int, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        w2, w4, w8, w16, w32 = shape.widths
        neck = shape.neck
        self.stem = nn.Sequential(_conv(3, w2, 3, 2), _conv(w2, w4, 3, 2))
        self.stage8 = nn.Sequential(_conv(w4, w8, 3, 2), _PartialStage(w8, shape.depths[0]))
        self.stage16 = nn.Sequential(_conv(w8, w16, 3, 2), _PartialStage(w16, shape.depths[1]))
        self.stage32 = nn.Sequential(_conv(w16, w32, 3, 2), _PartialStage(w32, shape.depths[2]))
        self.into8, self.into16, self.into32 = (_conv(width, neck, 1) for width in (w8, w16, w32))
        self.down16, self.down8 = separable(neck), separable(neck)
        self.up16, self.up32 = separable(neck, stride=2), separable(neck, stride=2)
        self.heads = nn.ModuleList(
            nn.Sequential(separable(neck), nn.Conv2d(neck, N_BOX + n_classes, 1)) for _ in STRIDES
        )
        self._start()

    def _start(self) -> None:
        for head in self.heads:
            last = head[-1]
            nn.init.normal_(last.weight, std=0.01)
            with torch.no_grad():
                last.bias[:N_BOX] = torch.tensor(_TYPICAL_SIDE).log()
                last.bias[N_BOX:] = -torch.tensor(1 / _PRIOR - 1).log()

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 4 + C, N): logarithms of the distances left, up, right, down from a cell's centre, in strides; logits.

        Cells come in the order of strides, then row by row.
        """
        return self.predictions(self.levels(pictures))

    def levels(self, pictures: Tensor) -> Levels:
        """What the heads look at."""
        at8 = self.stage8(self.stem(pictures))
        at16 = self.stage16(at8)
        at32 = self.stage32(at16)
        coarse = self.into32(at32)
        middle = self.down16(self.into16(at16) + functional.interpolate(coarse, scale_factor=2.0))
        fine = self.down8(self.into8(at8) + functional.interpolate(middle, scale_factor=2.0))
        middle = middle + self.up16(fine)
        coarse = coarse + self.up32(middle)
        return fine, middle, coarse

    def predictions(self, levels: Levels) -> Tensor:
        """As `forward`."""
        return by_cell(self.heads, levels)


def by_cell(heads: nn.ModuleList, levels: Levels) -> Tensor:
    """(B, channels, N) what the heads make of their levels, in the order of strides, then row by row."""
    return torch.cat([head(level).flatten(2) for head, level in zip(heads, levels, strict=True)], dim=2)


class _PartialStage(nn.Module):
    """Half of the channels go through the blocks, the other half past them."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        half = width // 2
        self.through, self.past = _conv(width, half, 1), _conv(width, half, 1)
        self.blocks = nn.ModuleList(nn.Sequential(_conv(half, half, 3), _conv(half, half, 3)) for _ in range(depth))
        self.joined = _conv(2 * half, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        through = self.through(x)
        for block in self.blocks:
            through = through + block(through)
        return self.joined(torch.cat([through, self.past(x)], dim=1))


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def separable(width: int, stride: int = 1) -> nn.Sequential:
    """A depth-wise 5 × 5 convolution and one across the channels."""
    return nn.Sequential(_conv(width, width, 5, stride, groups=width), _conv(width, width, 1))


def cells(height: int, width: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Centres (N, 2) x, y in pixels and strides (N,) of the cells of a picture, in the order of predictions."""
    centres, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        centres.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((centres[-1].shape[0],), float(stride)))
    return torch.cat(centres).to(device), torch.cat(strides).to(device)


def boxes_of(predictions: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """(B, N, 4) xyxy in pixels."""
    distances = predictions[:, :N_BOX].clamp(-4, 4).exp().transpose(1, 2) * strides[:, None]
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)
