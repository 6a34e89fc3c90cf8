"""Every error of ours, in one tree.

FlexPatchError
├── InputError                   what the caller gave cannot be used; the message says what to give instead
│   ├── FrameError               one pushed frame is bad; the session goes on
│   │   ├── FrameEmpty           zero bytes
│   │   ├── FrameFormatUnknown   not JPEG, PNG or WebP
│   │   ├── FrameTooLarge        more bytes or pixels than allowed
│   │   ├── FrameCorrupt         the header is fine, the rest is not
│   │   ├── FrameSizeChanged     other width or height than the session's first frame
│   │   └── FrameOutOfOrder      sequence number not above the last one
│   ├── SourceError              a file, folder or stream cannot be read
│   │   ├── AddressForbidden     the stream's address may not be opened
│   │   ├── StreamUnreachable    nobody answers there
│   │   ├── StreamUnauthorised   another user or password is wanted
│   │   ├── StreamNotFound       there is no such stream
│   │   ├── StreamUndecodable    what comes is nothing that can be decoded
│   │   ├── StreamTlsFailed      no encrypted connection came about
│   │   ├── StreamTimedOut       the camera did not answer in time
│   │   ├── StreamStalled        the connection stands, but no picture comes
│   │   └── StreamBroken         it broke off, or its decoder did
│   ├── ModelError               a detector or failure model cannot be used
│   │   ├── ModelNotFound        no such file or name
│   │   ├── ModelUnreadable      damaged, or not a model at all
│   │   ├── ModelAltered         not the file that its SHA-256 stands for
│   │   ├── ModelExists          another model has that name
│   │   ├── ModelNotRecognised   readable, but its outputs fit no known decoder
│   │   ├── EngineUnfit          a TensorRT engine for another GPU, library, model or purpose
│   │   └── EngineNotBuilt       TensorRT makes no engine of the model
│   └── SettingsError            a setting or option has no meaning here
├── SessionError
│   ├── SessionNotFound
│   ├── SessionExists
│   ├── SessionEnded             it was deleted or timed out while the caller waited
│   ├── SessionLimitReached      as many sessions as the service admits
│   ├── SessionsTooFast          more sessions are made in a short time than admitted
│   ├── SessionFetches           its frames come from a camera, and cannot be pushed
│   ├── QueueFull                the session's bounded queue; try again later
│   └── ResultNotFound           that frame is not, or no longer, in the log
├── StoreFailed                  the record of sessions cannot be written or read
├── GpuError                     the GPU cannot be used
│   ├── GpuMissing               there is none, or no driver or library for it
│   ├── GpuMemoryShort           it has too little free memory
│   ├── KernelsNotCompiled       NVRTC is missing, or does not compile for it
│   └── GpuFailed                a call failed; after some failures none succeeds any more
├── DetectorFailed               the detector has no answer
│   └── BackendFailed            because its inference runtime failed
└── DownloadFailed               a file could not be fetched

Errors carry data; `app.api.problems` alone knows status codes.
"""


class FlexPatchError(Exception):
    """Root of all errors of this package; the message is one sentence fit for a user."""


class InputError(FlexPatchError):
    """What the caller gave cannot be used."""


class FrameError(InputError):
    """One pushed frame is bad; the session goes on with the next."""


class FrameEmpty(FrameError):
    """The frame has no bytes."""


class FrameFormatUnknown(FrameError):
    """The bytes are not an image in a supported format."""


class FrameTooLarge(FrameError):
    """The frame has more bytes or pixels than allowed."""


class FrameCorrupt(FrameError):
    """The image is truncated or damaged."""


class FrameSizeChanged(FrameError):
    """The frame has another size than the session's first frame."""


class FrameOutOfOrder(FrameError):
    """The frame's sequence number is not above the last one."""


class SourceError(InputError):
    """A video file, image folder or stream cannot be read."""


class AddressForbidden(SourceError):
    """The stream's address may not be opened."""


class StreamUnreachable(SourceError):
    """Nobody answers at the stream's address."""


class StreamUnauthorised(SourceError):
    """The camera wants another user or password."""


class StreamNotFound(SourceError):
    """The camera has no such stream."""


class StreamUndecodable(SourceError):
    """What the camera sends cannot be decoded."""


class StreamTlsFailed(SourceError):
    """No encrypted connection came about."""


class StreamTimedOut(SourceError):
    """The camera did not answer in time."""


class StreamStalled(SourceError):
    """The connection stands, but no picture comes."""


class StreamBroken(SourceError):
    """The stream broke off, or the process that decodes it ended."""


class ModelError(InputError):
    """A detector or failure model cannot be used."""


class ModelNotFound(ModelError):
    """There is no model of that file name or name."""


class ModelUnreadable(ModelError):
    """The model file is damaged or not a model."""


class ModelAltered(ModelError):
    """The file is not the one that its SHA-256 stands for."""


class ModelExists(ModelError):
    """Another model has that name."""


class ModelNotRecognised(ModelError):
    """The model is readable, but its outputs fit no known decoder."""


class EngineUnfit(ModelError):
    """The TensorRT engine was built for another GPU, by another library, from another model or with other options."""


class EngineNotBuilt(ModelError):
    """TensorRT cannot make an engine of the model here."""


class SettingsError(InputError):
    """A setting or option has no meaning here."""


class SessionError(FlexPatchError):
    """Something about a session as a whole."""


class SessionNotFound(SessionError):
    """No session has that id."""


class SessionExists(SessionError):
    """Another session has that id."""


class SessionEnded(SessionError):
    """The session was deleted or timed out while the caller waited."""


class SessionLimitReached(SessionError):
    """The service already has as many sessions as it admits."""


class SessionsTooFast(SessionError):
    """More sessions are made in a short time than are admitted.

    `retry_after_s` is when the next one is, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SessionFetches(SessionError):
    """The session fetches its frames itself; none can be pushed."""


class QueueFull(SessionError):
    """The session's bounded queue has no room.

    `retry_after_s` is how long the frames ahead are expected to take, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ResultNotFound(SessionError):
    """That frame has no result in the log: not processed, or already discarded."""


class StoreFailed(FlexPatchError):
    """The record of sessions cannot be written or read."""


class GpuError(FlexPatchError):
    """The GPU cannot be used."""


class GpuMissing(GpuError):
    """There is no GPU, or no driver or library for it."""


class GpuMemoryShort(GpuError):
    """The GPU has too little free memory for what was asked."""


class KernelsNotCompiled(GpuError):
    """NVRTC is missing, or did not compile a kernel."""


class GpuFailed(GpuError):
    """A call to the GPU failed. After some failures, such as a lost device, none succeeds any more."""


class DetectorFailed(FlexPatchError):
    """The detector has no answer: it cannot take the canvas, or its runtime failed."""


class BackendFailed(DetectorFailed):
    """The inference runtime reported an error; another one may do better."""


class DownloadFailed(FlexPatchError):
    """A file could not be fetched from where it is published."""
