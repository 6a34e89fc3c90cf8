"""What goes in and out over HTTP, as documents."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Role
from app.core.types import CaptureSource, Origin, PatchKind, VisionPlace, WorkMode
from app.sessions.state import SessionState
from app.sessions.timeline import LAST_SEQ

SESSION_ID = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$"
Pixels = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = tuple[Pixels, Pixels]
Polygon = Annotated[list[Point], Field(min_length=3, max_length=1000)]
Side = Annotated[int, Field(ge=32, le=4096)]
Box = tuple[float, float, float, float]
Label = Annotated[str, Field(min_length=1, max_length=100)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


# ---------------------------------------------------------------------------------------------------- in


class PushSource(_In):
    """Frames come with `POST /sessions/{id}/frames` or the WebSocket."""

    kind: Literal["push"] = "push"


class RtspSource(_In):
    """Frames are fetched from a camera; the connection is made again for ever."""

    kind: Literal["rtsp"]
    url: str = Field(description="Address of the stream.", max_length=2000, examples=["rtsp://camera/stream"])
    transport: Literal["tcp", "udp"] = Field("tcp", description="How the media travel.")


class FileSource(_In):
    """Frames are read from a recording, at its own rate."""

    kind: Literal["file"]
    path: str = Field(
        description="A video, or a folder of images, below the service's source_root.",
        min_length=1,
        max_length=1000,
        examples=["entrance/2026-01-01.mp4"],
    )


class ZoneModel(_In):
    """A named area of the picture."""

    name: Label = Field(description="The name by which objects list it.", examples=["door"])
    polygon: Polygon = Field(
        description="Corners x, y in source-frame pixels.", examples=[[[0, 600], [400, 600], [400, 1080]]]
    )


class FiltersModel(_In):
    """Which objects are put out. When changing a session, what is absent stays as it is."""

    classes: Annotated[list[Label], Field(max_length=1000)] | None = Field(
        None, description="Labels to keep; null: all.", examples=[["person", "car"]]
    )
    min_score: float = Field(0.0, ge=0, le=1, description="Objects with a lower score are left out.")
    zones: list[ZoneModel] = Field(
        [],
        max_length=100,
        description="Areas; an object lists those that hold the middle of its lower edge.",
    )
    masks: list[Polygon] = Field(
        [],
        max_length=100,
        description="Areas, in source-frame pixels, whose objects are ignored; by the middle of the lower edge.",
    )


class TuningModel(_In):
    """What the schedule may spend. What is absent, or null, is the service's default."""

    max_canvas: tuple[Side, Side] | None = Field(
        None, description="Largest detector canvas: width and height in pixels.", examples=[[640, 352]]
    )
    megapixels_per_frame: float | None = Field(
        None, ge=0.001, le=16, description="Detector pixels to spend on an average frame, in millions."
    )
    object_height_px: Annotated[float, Field(ge=24, le=512)] | Literal["learned"] | None = Field(
        None,
        description="Height on the canvas to which taller objects are reduced, in pixels; or learned while the stream "
        "runs.",
        examples=["learned"],
    )
    context: float | None = Field(
        None, ge=0.1, le=3, description="Margin round an object, as a share of its larger side."
    )
    max_tracks: int | None = Field(None, ge=1, le=2000, description="Tracks kept at once.")
    track_lifetime_s: float | None = Field(
        None, ge=0.1, le=60, description="A track unconfirmed for so long is removed, in seconds."
    )
    min_output_score: float | None = Field(
        None, ge=0, le=1, description="Objects whose fused score is lower are not put out."
    )


class QueueModel(_In):
    """How frames wait."""

    depth: int = Field(ge=1, le=1000, description="Frames that may wait; one more is refused with 429.", examples=[4])


IdleTtl = Annotated[
    float, Field(gt=0, le=604_800, description="The session ends without a frame for so long, in seconds.")
]


class SessionCreate(_In):
    """A session to be made. Every part is optional."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": "cam-7"},
                {
                    "id": "entrance",
                    "source": {"kind": "push"},
                    "flexpatch": {"megapixels_per_frame": 0.1},
                    "filters": {
                        "classes": ["person"],
                        "min_score": 0.3,
                        "zones": [{"name": "door", "polygon": [[0, 600], [400, 600], [400, 1080], [0, 1080]]}],
                    },
                    "queue": {"depth": 4},
                    "idle_ttl_s": 300,
                },
            ]
        }
    )

    id: str | None = Field(None, pattern=SESSION_ID, description="Name of the session; absent: one is made up.")
    source: Annotated[PushSource | RtspSource | FileSource, Field(discriminator="kind")] = Field(
        PushSource(), description="Where frames come from."
    )
    detector: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="A model in the service's models folder: its file or its name. Absent: the service's default.",
    )
    flexpatch: TuningModel = Field(TuningModel(), description="Tuning of the schedule.")
    filters: FiltersModel = Field(FiltersModel(), description="What is put out.")
    queue: QueueModel | None = Field(None, description="How frames wait; absent: the service's default.")
    idle_ttl_s: IdleTtl | None = Field(
        None, description="The session ends without a frame for so long, in seconds; absent: the default."
    )


class SessionPatch(_In):
    """What to change in a session. What is absent stays as it is; null goes back to the default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"filters": {"min_score": 0.5}, "flexpatch": {"max_tracks": 100}}]}
    )

    filters: FiltersModel | None = Field(None, description="What is put out.")
    flexpatch: TuningModel | None = Field(None, description="Tuning of the schedule.")
    queue: QueueModel | None = Field(None, description="How frames wait.")
    idle_ttl_s: IdleTtl | None = Field(None, description="Idle time after which the session ends, in seconds.")


class FrameCommand(_In):
    """A text message on the WebSocket: about the next binary one."""

    seq: int | None = Field(None, ge=1, le=LAST_SEQ, description="Number of the next frame.")
    capture_time: str | float | None = Field(
        None, description="When the next frame was taken: RFC 3339, or Unix time in seconds."
    )


# --------------------------------------------------------------------------------------------------- out


class ProblemModel(_Out):
    """Any error, after RFC 9457. Some kinds have further members, such as `errors` and `retry_after_s`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URN of the kind of problem.", examples=["urn:flexpatch:problem:queue_full"])
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What was wrong this time, and what to do.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="The kind of problem, for programs.", examples=["queue_full"])
    retryable: bool = Field(description="Whether the same request may succeed later.")


class SessionErrorModel(_Out):
    """What went wrong in a session."""

    code: str = Field(description="The kind of error.")
    detail: str = Field(description="What happened.")


class DetectorModel(_Out):
    """The detector of a session."""

    name: str
    backend: str = Field(description="What runs it.", examples=["onnxruntime-cpu"])
    classes: list[str] = Field(description="Its labels, in the order of `class_id`.")


class TuningOut(_Out):
    """The tuning in force."""

    max_canvas: tuple[int, int] | None
    megapixels_per_frame: float
    object_height_px: float | Literal["learned"] = Field(description="In pixels, or learned while the stream runs.")
    context: float
    max_tracks: int
    track_lifetime_s: float
    min_output_score: float


class FrameCountsModel(_Out):
    """What became of a session's frames."""

    received: int = Field(description="Offered by clients.")
    processed: int = Field(description="With a result.")
    rejected: int = Field(description="Refused at once: queue full, or out of order.")
    cancelled: int = Field(description="Given up by their sender before their turn.")
    failed: dict[str, int] = Field(description="Accepted, but without a result; by error code.")


class QueueOut(_Out):
    """The queue of a session."""

    depth: int = Field(description="Frames that may wait.")
    length: int = Field(description="Frames that wait.")


class SessionModel(_Out):
    """A session as it is now."""

    id: str
    state: SessionState
    reason: str = Field(description="Why it is in this state; may be empty.")
    error: SessionErrorModel | None = Field(description="What went wrong, if something did.")
    source: Annotated[PushSource | RtspSource | FileSource, Field(discriminator="kind")] = Field(
        description="Where frames come from; without user and password."
    )
    connections: int = Field(description="To the camera so far; 0 where frames are pushed.")
    detector: DetectorModel
    created_at: datetime
    flexpatch: TuningOut
    filters: FiltersModel
    queue: QueueOut
    idle_ttl_s: float
    frames: FrameCountsModel
    fps: float = Field(description="Results a second, over the last of them.")
    thrift: int = Field(
        description="What a camera's session goes without because the machine cannot keep up: 0: nothing; 1, 2: the "
        "largest one or two canvases; 3, 4: also a half or three quarters of the detector's pixels."
    )
    vision: VisionPlace | None = Field(
        description="Where optical flow and all other work on pixels of the newest frame was done."
    )
    last_seq: int = Field(description="Number of the newest result, 0 if there is none.")
    last_frame_at: datetime | None = Field(description="When the newest result was known.")
    frame_size: tuple[int, int] | None = Field(description="Width and height of the frames, in pixels.")


class SessionList(_Out):
    """All sessions, oldest first."""

    sessions: list[SessionModel]
    max_sessions: int = Field(description="How many the service admits.")


class TimeModel(_Out):
    """When a frame was taken and its result known, in UTC."""

    capture: datetime | None
    capture_source: CaptureSource = Field(description="How the capture time is known.")
    completed: datetime


class WorkModel(_Out):
    """What the detector was asked on a frame."""

    mode: WorkMode = Field(description="Parts of the frame, the full frame, or nothing.")
    patches: int
    canvas: tuple[int, int] | None = Field(description="Width and height in pixels.")
    canvas_fill: float = Field(description="Share of the canvas covered by patches.")
    detector_pixels: int
    backend: str = Field(description="What runs the detector.")
    vision: VisionPlace = Field(description="Where optical flow and all other work on pixels is done.")


class ObjectModel(_Out):
    """One tracked object on a frame."""

    track_id: int
    class_id: int
    label: str
    box: Box = Field(description="x1, y1, x2, y2 in source-frame pixels.")
    score: float
    origin: Origin = Field(
        description="Confirmed by what the detector answered with this frame, or carried by optical flow."
    )
    detection_age_s: float = Field(description="Since a detector last confirmed it.")
    failure_probability: float = Field(description="That the box no longer holds the object.")
    zones: list[str] = Field(description="Zones that hold the middle of its lower edge.")


class FrameResultModel(_Out):
    """The result of one frame."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session": "cam-7",
                    "seq": 1042,
                    "time": {
                        "capture": "2026-01-01T00:00:00.000Z",
                        "capture_source": "client",
                        "completed": "2026-01-01T00:00:00.038Z",
                    },
                    "age_ms": 38.2,
                    "work": {
                        "mode": "patch",
                        "patches": 7,
                        "canvas": [640, 352],
                        "canvas_fill": 0.81,
                        "detector_pixels": 225280,
                        "backend": "onnxruntime-cpu",
                        "vision": "cpu",
                    },
                    "stage_ms": {"decode": 3.1, "flow": 2.0, "plan": 0.3, "detect": 5.2, "merge": 0.2},
                    "dropped_since_last": 0,
                    "objects": [
                        {
                            "track_id": 17,
                            "class_id": 0,
                            "label": "person",
                            "box": [12.0, 40.5, 88.0, 96.0],
                            "score": 0.87,
                            "origin": "detected",
                            "detection_age_s": 0.16,
                            "failure_probability": 0.12,
                            "zones": [],
                        }
                    ],
                }
            ]
        }
    )

    session: str
    seq: int
    time: TimeModel
    age_ms: float | None = Field(description="From capture to result.")
    work: WorkModel
    stage_ms: dict[str, float] = Field(description="Milliseconds by stage.")
    dropped_since_last: int = Field(description="Frames refused or given up since the last result.")
    objects: list[ObjectModel]


class ResultPage(_Out):
    """Consecutive results, oldest first."""

    session: str
    results: list[FrameResultModel]
    last_seq: int = Field(description="Number of the newest result in the log, 0 if there is none.")
    discarded_to_seq: int = Field(description="Results up to this number are no longer in the log; 0 if all are.")


class CandidateModel(_Out):
    """One region that was considered."""

    kind: PatchKind
    box: Box = Field(description="x1, y1, x2, y2 in source-frame pixels.")
    scale: float = Field(description="Canvas pixels per frame pixel.")
    value: float = Field(description="Expected worth of looking.")
    pixels: int = Field(description="Detector pixels that it would cost.")
    track_ids: list[int] = Field(description="Tracks that it was made for.")
    is_taken: bool
    reason: str = Field(description="Why it was taken or left.")
    canvas_box: tuple[int, int, int, int] | None = Field(description="Where on the canvas it landed.")


class ExplanationModel(_Out):
    """Why each region was or was not looked at on one frame."""

    session: str
    seq: int
    price_per_megapixel: float = Field(description="Worth that a megapixel had to promise.")
    canvas: tuple[int, int] | None
    reason: str = Field(description="Why this canvas, or none.")
    candidates: list[CandidateModel]


class WhoModel(_Out):
    """Who asks."""

    name: str | None = Field(description="The token's name; null where the service asks for none.", examples=["ops"])
    role: Role = Field(description="What the token allows; admin where none is asked for.")


class CheckModel(_Out):
    """One thing that readiness depends on."""

    name: str
    ok: bool
    detail: str


class ReadinessModel(_Out):
    """Whether the service can do its work."""

    status: Literal["ready"]
    checks: list[CheckModel]
