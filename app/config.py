"""Settings: the one reader of the environment and of the configuration file."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FilePath, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SettingsSourceError

from app.core.errors import SettingsError
from app.core.types import Size
from app.detect.backends import Backend
from app.detect.tensorrt.options import LARGEST_SIDE_PX, Precision
from app.flexpatch.config import PipelineConfig
from app.telemetry.logs import redact
from app.vision.opening import VisionChoice

_PREFIX = "FLEXPATCH_"
_FILE_VARIABLE = "FLEXPATCH_CONFIG"
"""Names the configuration file, for every command."""
_NOT_OURS = {"FLEXPATCH_DATA"}
"""Variables of that prefix that are no settings: where the tests look for recordings."""
_NESTED = "__"
_SECRET = frozenset({"tokens", "sessions"})


HardwareDecoder = Literal[
    "amf", "cuda", "d3d11va", "d3d12va", "drm", "dxva2", "qsv", "vaapi", "vdpau", "videotoolbox", "vulkan"
]
"""As FFmpeg calls them."""

SHIPPED_DETECTOR = "flexpatch-nano"


def _or_shipped(value: object) -> object:
    """Nothing stands for the shipped detector, as in files that were written when none was shipped."""
    return SHIPPED_DETECTOR if value is None else value


def _http_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an address such as http://collector:4318/v1/traces")
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"write origins such as https://ops.example.org, without a path and not *: not {value}")
    return values


def _off(value: object) -> object:
    """YAML reads `off` as false."""
    return "off" if value is False else value


def _words(value: object) -> object:
    """Accepts `a,b` besides `[a, b]`."""
    return [word for word in value.replace(",", " ").split() if word] if isinstance(value, str) else value


def _size(value: object) -> object:
    """Accepts `640x352` besides `[640, 352]`."""
    if isinstance(value, str) and "x" in value:
        return value.lower().split("x")
    return value


class FlexPatchSettings(BaseModel):
    """What the schedule of a session may spend unless the session says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_canvas: Annotated[Size | None, BeforeValidator(_size)] = Field(
        None, description="Largest detector canvas, width and height in pixels; null: chosen by the frame."
    )
    megapixels_per_frame: float = Field(0.08, description="Detector pixels to spend on an average frame, in millions.")
    object_height_px: float | None = Field(
        None, description="Height on the canvas to which taller objects are reduced, in pixels; null: learned."
    )
    context: float = Field(0.4, description="Margin round an object, as a share of its larger side.")
    max_tracks: int = Field(300, description="Tracks kept at once.")
    track_lifetime_s: float = Field(2.5, description="A track unconfirmed for so long is removed, in seconds.")
    min_output_score: float = Field(0.05, description="Objects with a lower score are not put out, 0 to 1.")

    def pipeline_config(self) -> PipelineConfig:
        """The same as the pipeline takes it.

        Raises:
            SettingsError: a value is out of range.
        """
        return PipelineConfig(**{name: getattr(self, name) for name in type(self).model_fields})


class Settings(BaseSettings):
    """Everything an operator can set: in the configuration file, as `FLEXPATCH_<NAME>`, or on the command line."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter=_NESTED,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 for any free one.")
    published_host: str | None = Field(
        None,
        min_length=1,
        description="Address on which others find the service, where that is not host: that of a container's port.",
    )

    authentication: Annotated[Literal["auto", "required", "off"], BeforeValidator(_off)] = Field(
        "auto",
        description="Whether requests need a token: auto (if there are tokens, or others than this machine can reach "
        "the service), required, off.",
    )
    tokens: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = Field(
        (), description="Tokens that are accepted, each role:name:sha256 as `flexpatch token` prints it."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words), AfterValidator(_origins)] = Field(
        (), description="Origins of other sites whose pages may use the service, such as https://ops.example.org."
    )

    detector: Annotated[Path, BeforeValidator(_or_shipped)] = Field(
        Path(SHIPPED_DETECTOR),
        description="Detector that sessions use unless they name another: a file, or a model of models_dir or shipped.",
    )
    detector_family: str | None = Field(
        None, description="How the detector's outputs are laid out; null: recognised from the file."
    )
    detector_threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads of one detector; null: the runtime's choice."
    )
    backend: Backend = Field(
        "auto",
        description="What runs detectors: auto (the first that can), tensorrt, onnxruntime-cuda, openvino, "
        "onnxruntime-cpu.",
    )
    gpu: int = Field(0, ge=0, description="CUDA's number of the GPU that detectors and vision run on.")
    vision: VisionChoice = Field(
        "auto",
        description="Where optical flow and all other work on pixels is done: auto (on the GPU where the detector is), "
        "gpu, cpu.",
    )
    gpu_sharing: Literal["session", "batch"] = Field(
        "session",
        description="On a GPU, each session works by itself (session), or canvases of several go together (batch).",
    )
    gpu_reserve_mb: int = Field(
        256,
        ge=0,
        description="GPU memory that stays free when a session is admitted, in megabytes, besides what its vision "
        "comes to hold.",
    )
    engine_dir: Path | None = Field(None, description="Folder of TensorRT engines; null: engines in models_dir.")
    engine_precision: Precision = Field("half", description="Arithmetic of TensorRT engines: float, half or int8.")
    engine_calibration: str | None = Field(
        None, description="Pictures that int8 engines are made with, like those to come: a folder or a recording."
    )
    engine_max_side_px: int = Field(
        LARGEST_SIDE_PX,
        ge=640,
        le=8192,
        description="Longer side of the largest canvas of TensorRT engines, in pixels.",
    )
    failure_model: Path | None = Field(
        None,
        description="Trained tracking-failure model file; null: failure_model.json of models_dir, or the shipped one.",
    )
    allow_pickled_models: bool = Field(
        False,
        description="Read a failure model in joblib's format, which can run code, if models_dir's manifest pins it.",
    )
    models_dir: Path = Field(
        Path("models"), description="Folder of the models that sessions may name; no other file is opened."
    )
    models_mirror: str | None = Field(
        None,
        description="Folder or address where `flexpatch models pull` finds models; null: where they are published.",
    )

    source_allow: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = Field(
        (),
        description="Stream addresses that may be opened besides public ones: networks (10.0.0.0/8), addresses, hosts.",
    )
    source_tls_verify: bool = Field(
        True, description="Whether encrypted streams (rtsps://) need a certificate that an authority vouches for."
    )
    source_ca_file: FilePath | None = Field(
        None, description="Certificates of the authorities, or cameras, that are believed, in PEM; null: the system's."
    )
    source_root: Path | None = Field(
        None, description="Folder whose recordings sessions may name as sources; null: none may be named."
    )
    sessions: tuple[dict[str, Any], ...] = Field(
        (),
        description="Sessions to begin with, as clients would POST them, but with any address; best in the file.",
    )
    state_file: Path | None = Field(
        Path("flexpatch-state.db"),
        description="Keeps sessions that fetch their frames over restarts; null: they end with the service.",
    )
    hwaccel: HardwareDecoder | None = Field(
        None, description="Device that decodes streams (cuda, qsv, vaapi, …), where it can; null: the processor."
    )
    longest_backoff_s: float = Field(
        30.0, gt=0, description="Longest pause before a camera is tried again, in seconds; half of it on average."
    )

    demo: bool = Field(False, description="Start with a session `demo` that watches a synthetic street.")

    max_sessions: int = Field(64, ge=1, le=10_000, description="Sessions admitted at once.")
    session_creations_per_s: float = Field(
        10.0, gt=0, le=1e6, description="Sessions that may be made in a second, on average; 50 at once."
    )
    max_frame_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="Largest encoded frame, in bytes.")
    max_pixels: int = Field(40_000_000, ge=1024, description="Largest decoded frame, in pixels.")
    queue_depth: int = Field(4, ge=1, le=1000, description="Frames that may wait in a session.")
    idle_ttl_s: float = Field(300.0, gt=0, description="Without a frame for so long, in seconds, a session ends.")
    stale_after_s: float = Field(5.0, gt=0, description="Without a frame for so long, in seconds, a session is stale.")
    result_log_size: int = Field(600, ge=1, le=100_000, description="Results kept in a session, in frames.")
    heartbeat_s: float = Field(10.0, gt=0, description="Pause between a stream's heartbeats, in seconds.")
    preview_max_fps: float = Field(10.0, gt=0, le=60, description="Most pictures a second in a live view.")
    preview_quality: int = Field(80, ge=1, le=100, description="JPEG quality of snapshots and live views.")

    log_format: Literal["pretty", "json"] = Field(
        "pretty", description="Log lines for people (pretty) or machines (json)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level logged: debug, info, warning or error."
    )

    traces_endpoint: Annotated[str, AfterValidator(_http_address)] | None = Field(
        None,
        description="Collector of OpenTelemetry traces (OTLP over HTTP), such as http://collector:4318/v1/traces; "
        "null: no traces.",
    )
    traces_share: float = Field(0.01, ge=0, le=1, description="Share of frames and requests that are traced, 0 to 1.")

    flexpatch: FlexPatchSettings = Field(FlexPatchSettings(), description="Defaults of sessions' schedules.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` has merged: the environment is read there, with the file."""
        return (init_settings,)


def load_settings(
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from defaults, file, environment and command line, each going before the ones named earlier.

    Args:
        config_file: a YAML file; None: the one that FLEXPATCH_CONFIG names, if it does.
        overrides: values from the command line; None among them means not given.
        environment: for tests; None: the process's own.
    Raises:
        SettingsError: unknown keys, values that make no sense, or a file that cannot be read.
    """
    known = os.environ if environment is None else environment
    _check_environment(known)
    named = (value for name, value in known.items() if name.upper() == _FILE_VARIABLE)
    file = config_file or next(named, None)
    values = _from_file(Path(file)) if file else {}
    values = _merged(values, _from_environment(environment))
    values = _merged(values, {key: value for key, value in (overrides or {}).items() if value is not None})
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error
    settings.flexpatch.pipeline_config()
    return settings


def _from_environment(environment: Mapping[str, str] | None) -> dict[str, Any]:
    source = EnvSettingsSource(Settings)
    if environment is not None:
        source.env_vars = {key.lower(): value for key, value in environment.items() if value}
    try:
        return source()
    except SettingsSourceError as error:
        field = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), None)
        what = f"{_PREFIX}{field.upper()} is no JSON" if field else str(error)
        raise SettingsError(f"The environment is not understood: {what}.") from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"The configuration file {path} cannot be read: {what}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be read"
        raise SettingsError(f"The configuration file {path} is not YAML{where}: {what}.") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(f"The configuration file {path} must hold names and values at its top level.")
    return values


def _check_environment(environment: Mapping[str, str]) -> None:
    known = {_PREFIX + name.upper() for name in Settings.model_fields}
    known |= {_FILE_VARIABLE} | _NOT_OURS
    known |= {f"{_PREFIX}FLEXPATCH{_NESTED}{name.upper()}" for name in FlexPatchSettings.model_fields}
    for name in environment:
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            raise SettingsError(f"The environment variable {name} is unknown.{_did_you_mean(name, known)}")


def _did_you_mean(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(cast(Mapping[str, Any], old), value) if both else value
    return merged


def _sentence(error: ValidationError) -> str:
    names = set(Settings.model_fields) | {f"flexpatch.{name}" for name in FlexPatchSettings.model_fields}
    problems = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, names, n=1)
            problems.append(f"there is no setting {name}" + (f" (did you mean {close[0]}?)" if close else ""))
        else:
            # What was given may hold a token or a camera's password.
            given = "" if name.split(".")[0] in _SECRET else f" is {redact(repr(item['input']))}"
            problems.append(f"{name}{given}: {item['msg'][:1].lower()}{item['msg'][1:]}")
    return f"The settings make no sense: {'; '.join(problems)}."
