"""NumPy's structures and the C header's are the same bytes."""

import numpy as np
import pytest

from app.gpu import structures
from app.gpu.structures import Family, FrameKind, TensorType
from tests.gpu.host import HostKernels

STRUCTURES = {
    "CanvasJob": structures.CANVAS_JOB,
    "PatchCopy": structures.PATCH_COPY,
    "InputLayout": structures.INPUT_LAYOUT,
    "PredictionSet": structures.PREDICTION_SET,
    "FoundDetections": structures.FOUND_DETECTIONS,
    "LumaPlane": structures.LUMA_PLANE,
    "FlowJob": structures.FLOW_JOB,
    "PointSearch": structures.POINT_SEARCH,
    "FollowedPoint": structures.FOLLOWED_POINT,
    "CameraMap": structures.CAMERA_MAP,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_fields_lie_where_the_kernels_read_them(host_kernels: HostKernels, name: str) -> None:
    layout = STRUCTURES[name]
    assert layout.fields is not None
    expected = {field: place[1] for field, place in layout.fields.items()}
    assert host_kernels.fields(name) == {**expected, "sizeof": layout.itemsize}


def test_numbers_mean_the_same(host_kernels: HostKernels) -> None:
    assert host_kernels.enumerators() == [
        *FrameKind,
        *TensorType,
        *Family,
        structures.MAX_OUTPUTS,
        structures.MAX_STRIDES,
        structures.MAX_DETECTIONS,
        structures.MAX_CLASSES.bit_length() - 1,
        structures.MAX_PREDICTIONS.bit_length() - 1,
        structures.MAX_LEVELS,
    ]


def test_halves_become_floats_as_numpy_has_them(host_kernels: HostKernels) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = bits.view(np.float16).astype(np.float32)
    found = np.array([host_kernels.half_value(int(code)) for code in bits], np.float32)
    np.testing.assert_array_equal(found, expected)


def test_floats_become_the_nearest_half_and_ties_the_even_one(host_kernels: HostKernels) -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2
    values = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(np.inf))])
    values = np.concatenate([values[::7], -values[::11], np.array([65519, 65520, 1e30, np.inf, -np.inf], np.float32)])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    assert [host_kernels.half_bits(float(value)) for value in values] == expected.tolist()
