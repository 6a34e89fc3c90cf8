"""Rectangles packed on one canvas by guillotine cuts: every cut goes right through the free piece it divides.

Source: Jylänki, "A Thousand Ways to Pack the Bin" (2010), GUILLOTINE with the best-short-side rule and the
shorter-leftover-axis split, which rank among its best; the paper names the algorithm, not its variant.
"""

from app.core.types import Size

GUTTER_PX = 2
"""Free pixels between patches, so that objects at a seam do not merge."""

Piece = tuple[int, int, int, int]
"""x, y, width, height."""


class GuillotineBin:
    """The free pieces of one canvas."""

    def __init__(self, canvas: Size, gutter: int = GUTTER_PX) -> None:
        self._gutter = gutter
        # No gutter is needed at the far edges: a canvas that much larger takes rectangles that much larger.
        self._free: list[Piece] = [(0, 0, canvas.width + gutter, canvas.height + gutter)]

    def place(self, width: int, height: int) -> tuple[int, int] | None:
        """Take room for one rectangle, of at least one pixel: its left and top; None if no free piece holds it."""
        width, height = width + self._gutter, height + self._gutter
        fitting = [piece for piece in self._free if piece[2] >= width and piece[3] >= height]
        if not fitting:
            return None
        best = min(fitting, key=lambda p: (min(p[2] - width, p[3] - height), max(p[2] - width, p[3] - height), p))
        self._free.remove(best)
        self._free += _cut(best, width, height)
        return best[0], best[1]


def _cut(piece: Piece, width: int, height: int) -> list[Piece]:
    """What is left of a piece once its top left corner is taken: the cut goes along the shorter leftover."""
    x, y, piece_width, piece_height = piece
    right, below = piece_width - width, piece_height - height
    if right <= below:
        pieces = [(x + width, y, right, height), (x, y + height, piece_width, below)]
    else:
        pieces = [(x + width, y, right, piece_height), (x, y + height, width, below)]
    return [left for left in pieces if left[2] > 0 and left[3] > 0]
