"""The kernels compile for every supported GPU, and errors say what to do."""

import sys
from types import ModuleType

import pytest

from app.core.errors import KernelsNotCompiled
from app.gpu import compiler
from app.gpu.compiler import ENTRY_POINTS, KernelFile, compile_kernels, supported_architectures

ARCHITECTURES = [(7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (12, 0)]
BROKEN = b"""extern "C" __global__ void broken() {
    undeclared();
    undefined();
}"""

each_file = pytest.mark.parametrize("name", ENTRY_POINTS)


@pytest.fixture
def _nvrtc() -> None:
    """Skips the test where the kernels cannot be compiled."""
    pytest.importorskip("cuda.bindings", reason="cuda-python is not installed")
    try:
        supported_architectures()
    except KernelsNotCompiled as missing:
        pytest.skip(str(missing))


@pytest.mark.usefixtures("_nvrtc")
def test_every_wanted_architecture_is_known() -> None:
    assert set(ARCHITECTURES) <= set(supported_architectures())


@each_file
@pytest.mark.parametrize("capability", ARCHITECTURES, ids=str)
@pytest.mark.usefixtures("_nvrtc")
def test_kernels_compile_to_machine_code(name: KernelFile, capability: tuple[int, int]) -> None:
    cubin = compile_kernels(name, capability)
    assert cubin.startswith(b"\x7fELF")
    assert all(kernel.encode() in cubin for kernel in ENTRY_POINTS[name])


@pytest.mark.usefixtures("_nvrtc")
def test_what_nvrtc_says_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_source", lambda name: BROKEN if name.endswith(".cu") else b"")
    with pytest.raises(KernelsNotCompiled, match=r"sm_89.*canvas\.cu\(2\).*undeclared.*undefined") as raised:
        compile_kernels("canvas", (8, 9))
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("_nvrtc")
def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(KernelsNotCompiled, match="sm_10"):
        compile_kernels("canvas", (1, 0))


def test_without_the_bindings_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
    with pytest.raises(KernelsNotCompiled, match=r"cuda-python.*pip install 'flexpatch-service\[gpu\]'"):
        compile_kernels("canvas", (8, 9))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> None:
        raise RuntimeError("libnvrtc.so not found")

    bindings = ModuleType("cuda.bindings.nvrtc")
    monkeypatch.setattr(bindings, "nvrtcVersion", version, raising=False)
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", bindings)
    with pytest.raises(KernelsNotCompiled, match=r"NVRTC.*pip install 'flexpatch-service\[gpu\]'"):
        supported_architectures()
