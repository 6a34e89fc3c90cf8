"""What kind of detector an ONNX graph is: from its inputs, its metadata, and one trial inference.

Declared shapes are often symbolic and sometimes wrong; what the graph puts out on a small grey canvas is not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DetectorFailed, ModelNotRecognised, SettingsError
from app.core.types import InputSizes, Size
from app.detect import class_names
from app.detect.decoders import Decoder
from app.detect.families import FAMILIES, Evidence, Family, FamilyName, Match
from app.detect.network import Feeds, Signature, TensorSpec
from app.detect.preprocess import Preprocessing

Run = Callable[[Feeds], Sequence[NDArray[Any]]]

_TRIAL_SIZE = Size(192, 128)
"""Small, not square, and a multiple of the coarsest stride."""
_USUAL_SIZE = Size(640, 640)

_IMAGE_TYPES = ("float32", "float16", "uint8")
_SIZE_TYPES = ("int64", "int32", "float32")


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input that takes the canvases."""

    name: str
    dtype: str
    is_channels_last: bool
    batch: int | None
    """Canvases in each inference; None if any number will do."""
    size: Size | None
    """None if the graph leaves it open."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to use a recognised model."""

    family: FamilyName
    image: ImageInput
    size_input: TensorSpec | None
    """Takes width and height of each canvas, where the graph asks for them."""
    preprocessing: Preprocessing
    pad_value: tuple[int, int, int]
    """BGR."""
    output_names: tuple[str, ...]
    decoder: Decoder
    class_names: tuple[str, ...]
    input_sizes: InputSizes
    nms_iou: float | None
    """The family's usual threshold; None if it needs no suppression."""


def recognise(signature: Signature, run: Run, family: str | None = None) -> Recipe:
    """Find out how to use a detector.

    Args:
        signature: what the graph declares.
        run: one inference, from inputs by name to all outputs in the declared order, none of them
            in half precision; raises DetectorFailed.
        family: the family's name, if the user knows better; still checked against the outputs.
    Raises:
        ModelNotRecognised: it is no detector of a known family; the message says what was found.
        SettingsError: there is no family of that name.
    """
    tried = _families(family)
    task = signature.metadata.get("task", "detect")
    if task != "detect" and family is None:
        raise ModelNotRecognised(f"The model's metadata call its task {task!r}; only 'detect' is supported.")
    if any("(" in spec.dtype for spec in signature.outputs):
        raise ModelNotRecognised(f"A detector's outputs are plain tensors; this model has {signature}.")
    image, size_input = _find_inputs(signature)
    trial = _try_out(signature, image, size_input, run)
    evidence = Evidence(
        outputs={spec.name: value for spec, value in zip(signature.outputs, trial.outputs, strict=True)},
        size=trial.size,
        names=class_names.from_metadata(signature.metadata),
        is_end_to_end=signature.metadata.get("end2end", "").lower() == "true",
        has_size_input=size_input is not None,
        is_forced=family is not None,
    )
    for name, candidate in tried.items():
        match = candidate.match(evidence)
        if match is not None:
            image = ImageInput(image.name, image.dtype, image.is_channels_last, trial.batch, trial.fixed_size)
            return _recipe(name, match, image, size_input, signature.metadata)
    raise ModelNotRecognised(_explain(signature, evidence, tried))


def _families(family: str | None) -> Mapping[FamilyName, Family]:
    if family is None:
        return FAMILIES
    chosen = {name: value for name, value in FAMILIES.items() if name == family}
    if not chosen:
        raise SettingsError(f"There is no detector family {family!r}; choose one of {', '.join(FAMILIES)}.")
    return chosen


def _recipe(
    name: FamilyName,
    match: Match,
    image: ImageInput,
    size_input: TensorSpec | None,
    metadata: Mapping[str, str],
) -> Recipe:
    family = FAMILIES[name]
    stride = class_names.read_literal(metadata.get("stride", ""))
    if not isinstance(stride, int) or stride < 1:
        stride = 1
    return Recipe(
        family=name,
        image=image,
        size_input=size_input,
        preprocessing=match.preprocessing or family.preprocessing,
        pad_value=match.pad_value or family.pad_value,
        output_names=match.output_names,
        decoder=match.decoder,
        class_names=class_names.resolve(match.decoder.n_classes, class_names.from_metadata(metadata)),
        input_sizes=InputSizes(fixed=() if image.size is None else (image.size,), stride=max(stride, *match.strides)),
        nms_iou=family.nms_iou,
    )


# ------------------------------------------------------------------------------------------------ inputs


def _find_inputs(signature: Signature) -> tuple[ImageInput, TensorSpec | None]:
    images = [image for spec in signature.inputs if (image := _as_image(spec)) is not None]
    if len(images) != 1:
        raise ModelNotRecognised(
            f"A detector has one image input [b,3,h,w] or [b,h,w,3] of type {', '.join(_IMAGE_TYPES)}; "
            f"this model has {signature}."
        )
    others = [spec for spec in signature.inputs if spec.name != images[0].name]
    for spec in others:
        if len(others) > 1 or spec.dtype not in _SIZE_TYPES or len(spec.shape) != 2 or spec.shape[1] not in {2, None}:
            raise ModelNotRecognised(
                f"Besides the image, only one input [b,2] for its width and height (`orig_target_sizes`) is "
                f"supported; this model has {signature}. Export it without the others."
            )
    return images[0], others[0] if others else None


def _as_image(spec: TensorSpec) -> ImageInput | None:
    if spec.dtype not in _IMAGE_TYPES or len(spec.shape) != 4:
        return None
    batch, *rest = spec.shape
    is_channels_last = rest[2] == 3 and rest[0] != 3
    if not is_channels_last and rest[0] not in {3, None}:
        return None
    height, width = rest[:2] if is_channels_last else rest[1:]
    # A graph with one side open takes the other for it, as square exports do.
    width, height = width or height, height or width
    size = None if width is None or height is None else Size(width, height)
    return ImageInput(spec.name, spec.dtype, is_channels_last, batch, size)


# ----------------------------------------------------------------------------------------- trial inference


@dataclass(frozen=True, slots=True)
class _Trial:
    outputs: Sequence[NDArray[Any]]
    size: Size
    batch: int | None
    """Fixed number of canvases, None if two worked where the graph declares any."""
    fixed_size: Size | None
    """The only size that is known to work, None if a small one did where the graph declares any."""


def _try_out(signature: Signature, image: ImageInput, size_input: TensorSpec | None, run: Run) -> _Trial:
    """Run the graph on grey canvases of the first size and batch that it takes."""
    failure: DetectorFailed | None = None
    for size in _trial_sizes(image, signature.metadata):
        for batch in (2, 1) if image.batch is None else (image.batch,):
            try:
                outputs = run(trial_feeds(image, size_input, size, batch))
            except DetectorFailed as error:
                failure = failure or error
                continue
            is_batched = all(output.ndim < 2 or output.shape[0] == batch for output in outputs)
            if image.batch is None and batch > 1 and not is_batched:
                continue
            is_any_size = image.size is None and size == _TRIAL_SIZE
            return _Trial(
                outputs,
                size,
                batch=None if image.batch is None and batch > 1 else batch,
                fixed_size=None if is_any_size else size,
            )
    raise ModelNotRecognised(f"The model could not be run on a plain picture ({failure}); {signature}.") from failure


def _trial_sizes(image: ImageInput, metadata: Mapping[str, str]) -> Iterator[Size]:
    if image.size is not None:
        yield image.size
        return
    yield _TRIAL_SIZE
    match class_names.read_literal(metadata.get("imgsz", "")):
        case [int(height), int(width)] if 0 < height <= 4096 and 0 < width <= 4096:
            yield Size(width, height)
    yield _USUAL_SIZE


def trial_feeds(image: ImageInput, size_input: TensorSpec | None, size: Size, batch: int) -> dict[str, NDArray[Any]]:
    """Inputs by name for grey canvases (114 of 255; in [0, 1] where the type is not integer)."""
    shape = (batch, size.height, size.width, 3) if image.is_channels_last else (batch, 3, size.height, size.width)
    grey = 114 if image.dtype == "uint8" else 114 / 255
    feeds: dict[str, NDArray[Any]] = {image.name: np.full(shape, grey, image.dtype)}
    if size_input is not None:
        feeds[size_input.name] = np.tile(np.array(size, size_input.dtype), (batch, 1))
    return feeds


def _explain(signature: Signature, evidence: Evidence, tried: Mapping[FamilyName, Family]) -> str:
    found = ", ".join(
        f"{name} {value.dtype}[{','.join(str(side) for side in value.shape)}]"
        for name, value in evidence.outputs.items()
    )
    classes = "" if evidence.names is None else f" and {len(evidence.names)} class names"
    inputs = ", ".join(str(spec) for spec in signature.inputs)
    expected = "; ".join(f"{name}: {family.layout}" for name, family in tried.items())
    advice = (
        "If it is one of these, name it with --detector-family (family)."
        if len(tried) > 1
        else "Leave out --detector-family (family), or name another."
    )
    return (
        f"The model's outputs fit no known detector. Inputs: {inputs}. Outputs for a {evidence.size} canvas: "
        f"{found}{classes}. Expected one of: {expected}. {advice}"
    )
