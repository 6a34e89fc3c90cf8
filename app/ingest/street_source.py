"""The synthetic street as a source of frames."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from app.core.types import BgrPicture, Frame, Size
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig


class StreetSource:
    """Frames of a synthetic street, rendered when asked for, as fast as they are taken. Not thread-safe."""

    n_corrupt = 0

    def __init__(self, config: StreetConfig) -> None:
        self.street = Street(config)

    @property
    def size(self) -> Size:
        return self.street.config.size

    @property
    def fps(self) -> float:
        return self.street.config.fps

    @property
    def n_frames(self) -> int | None:
        return self.street.config.n_frames

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self.n_frames is None or index < self.n_frames:
            start = time.perf_counter()
            picture = BgrPicture(self.street.render(index))
            render_ms = 1000 * (time.perf_counter() - start)
            yield Frame(seq=index + 1, pts_s=index / self.fps, picture=picture, decode_ms=render_ms)
            index += 1

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
