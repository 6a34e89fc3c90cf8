"""From the kernels' source to machine code for one GPU architecture, with NVRTC. Needs no GPU."""

from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal

from app.core.errors import KernelsNotCompiled

KernelFile = Literal["canvas", "detections", "planes", "flow", "texture", "maps"]

HEADERS = ("structures.h", "half.h", "sampling.h", "luma.h")
ENTRY_POINTS: dict[KernelFile, tuple[str, ...]] = {
    "canvas": ("draw_canvas",),
    "detections": ("find_detections",),
    "planes": ("reduce_luma", "halve_luma", "shrink_luma"),
    "flow": ("follow_points",),
    "texture": ("find_corners", "sample_templates"),
    "maps": ("classify_edges", "join_edges", "mark_edges", "count_edges", "find_motion"),
}
"""The kernels of each file."""

_INSTALL = "install it with: pip install 'flexpatch-service[gpu]'"


def compile_kernels(name: KernelFile, compute_capability: tuple[int, int]) -> bytes:
    """Compile one file of kernels.

    Args:
        name: the file; `ENTRY_POINTS` has its kernels' names.
        compute_capability: major and minor, as (8, 9).
    Returns:
        A CUBIN, which runs on GPUs of that major version and at least that minor one.
    Raises:
        KernelsNotCompiled: NVRTC is missing, does not know the architecture, or found an error.
    """
    nvrtc = _nvrtc()
    headers = [_source(header) for header in HEADERS]
    program = _result(
        nvrtc,
        nvrtc.nvrtcCreateProgram,
        _source(f"{name}.cu"),
        f"{name}.cu".encode(),
        len(headers),
        headers,
        [header.encode() for header in HEADERS],
    )
    try:
        options = _options(compute_capability)
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            target, log = f"sm_{_digits(compute_capability)}", _log(nvrtc, program, status)
            raise KernelsNotCompiled(f"The {name} kernels do not compile for {target}: {log}")
        cubin = bytearray(_result(nvrtc, nvrtc.nvrtcGetCUBINSize, program))
        _result(nvrtc, nvrtc.nvrtcGetCUBIN, program, cubin)
        return bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def supported_architectures() -> tuple[tuple[int, int], ...]:
    """The compute capabilities that the installed NVRTC compiles for, lowest first.

    Raises:
        KernelsNotCompiled: NVRTC is missing.
    """
    nvrtc = _nvrtc()
    numbers = _result(nvrtc, nvrtc.nvrtcGetSupportedArchs)
    return tuple(divmod(int(number), 10) for number in sorted(numbers))


def _options(compute_capability: tuple[int, int]) -> list[bytes]:
    return [
        f"--gpu-architecture=sm_{_digits(compute_capability)}".encode(),
        b"--std=c++17",
        # A fused multiply-add rounds once where the CPU rounds twice, and results are to be equal.
        b"--fmad=false",
    ]


def _digits(compute_capability: tuple[int, int]) -> str:
    major, minor = compute_capability
    return f"{major}{minor}"


def _source(name: str) -> bytes:
    return files("app.gpu").joinpath("kernels", name).read_bytes()


def _nvrtc() -> Any:
    """NVRTC's bindings, once it is certain that its library can be loaded."""
    try:
        nvrtc = import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()
    except ImportError as error:
        raise KernelsNotCompiled(f"The package cuda-python is missing; {_INSTALL}") from error
    except (RuntimeError, OSError) as error:
        raise KernelsNotCompiled(f"CUDA's run-time compiler, NVRTC, is missing; {_INSTALL}") from error
    return nvrtc


def _result(nvrtc: Any, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """What a function of NVRTC returns beside its status: nothing or one thing."""
    status, *values = function(*arguments)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise KernelsNotCompiled(f"NVRTC failed: {_text(nvrtc, status)}")
    return values[-1] if values else None


def _log(nvrtc: Any, program: Any, status: Any) -> str:
    """NVRTC's own words in one line, or its status if it has none."""
    log = bytearray(_result(nvrtc, nvrtc.nvrtcGetProgramLogSize, program))
    _result(nvrtc, nvrtc.nvrtcGetProgramLog, program, log)
    lines = log.rstrip(b"\0").decode(errors="replace").splitlines()
    return "; ".join(line.strip() for line in lines if line.strip()) or _text(nvrtc, status)


def _text(nvrtc: Any, status: Any) -> str:
    _, text = nvrtc.nvrtcGetErrorString(status)
    return text.decode() if isinstance(text, bytes) else str(text)
