"""The synthetic street as files: a video, or a sequence with ground truth in the layout of MOTChallenge."""

from fractions import Fraction
from pathlib import Path

import av
import simplejpeg

from app.core.errors import SourceError
from app.ingest.street import Street

_PERSON_CLASS, _CAR_CLASS = 1, 3
"""MOTChallenge's numbers for a pedestrian and a car."""
_MOT_CLASSES = (_PERSON_CLASS, _CAR_CLASS)
SEEN_SHARE = 0.25
"""Objects less in view than this are marked as not to be counted."""


def write_video(street: Street, path: Path, n_frames: int, *, crf: int = 23) -> None:
    """Encode the first frames as H.264.

    Args:
        street: what to show; width and height must be even.
        path: the file to write; its suffix chooses the container.
        n_frames: how many frames.
        crf: quality from 0 (best) to 51.
    Raises:
        SourceError: the size is odd, or the file cannot be written.
    """
    width, height = street.config.size
    if width % 2 or height % 2:
        raise SourceError(f"H.264 needs an even width and height, not {street.config.size}: choose another size.")
    rate = Fraction(street.config.fps).limit_denominator(1001)
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(n_frames):
                frame = av.VideoFrame.from_ndarray(street.render(index), format="bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"The video {path} cannot be written: check the folder and the suffix.") from error


def write_motchallenge(street: Street, folder: Path, n_frames: int, *, quality: int = 92) -> None:
    """Write `img1/000001.jpg` …, `gt/gt.txt` and `seqinfo.ini`.

    Each line of the ground truth is `frame,id,x,y,width,height,flag,class,visibility` with frames from 1, pixels
    from the upper left corner, class 1 for people and 3 for vehicles, and flag 0 for objects less than a quarter
    in view.

    Args:
        street: what to show.
        folder: where to write; made if missing.
        n_frames: how many frames.
        quality: of the JPEGs, 1 to 100.
    Raises:
        SourceError: the folder cannot be written.
    """
    width, height = street.config.size
    lines = []
    try:
        (folder / "img1").mkdir(parents=True, exist_ok=True)
        (folder / "gt").mkdir(exist_ok=True)
        for index in range(n_frames):
            data = simplejpeg.encode_jpeg(
                street.render(index), quality=quality, colorspace="BGR", colorsubsampling="420"
            )
            (folder / "img1" / f"{index + 1:06d}.jpg").write_bytes(data)
            lines += _truth_lines(street, index)
        (folder / "gt" / "gt.txt").write_text("".join(lines), encoding="utf-8")
        (folder / "seqinfo.ini").write_text(
            f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={street.config.fps:g}\nseqLength={n_frames}\n"
            f"imWidth={width}\nimHeight={height}\nimExt=.jpg\n",
            encoding="utf-8",
        )
    except OSError as error:
        raise SourceError(f"The sequence {folder} cannot be written: choose a folder that can.") from error


def _truth_lines(street: Street, index: int) -> list[str]:
    truth = street.truth(index)
    return [
        f"{index + 1},{track_id},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},"
        f"{int(visible >= SEEN_SHARE)},{_MOT_CLASSES[class_id]},{visible:.3f}\n"
        for track_id, class_id, (x1, y1, x2, y2), visible in zip(
            truth.ids.tolist(),
            truth.class_ids.tolist(),
            truth.boxes.tolist(),
            truth.visible.tolist(),
            strict=True,
        )
    ]
