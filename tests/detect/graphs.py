"""Tiny ONNX graphs, written by hand: detectors whose answers are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
IMAGE: tuple[str, int, Shape] = ("images", TensorProto.FLOAT, (1, 3, 128, 192))


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Shape]],
    outputs: Sequence[tuple[str, int, Shape]],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a checked model of these nodes, inputs and outputs (name, element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def constant(name: str, value: NDArray[np.generic]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.ascontiguousarray(value)))


def constant_model(
    path: Path,
    outputs: Mapping[str, NDArray[np.generic]],
    *,
    image: tuple[str, int, Shape] = IMAGE,
    others: Sequence[tuple[str, int, Shape]] = (),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A model that looks at nothing and always puts out these arrays."""
    return save(
        path,
        [constant(name, value) for name, value in outputs.items()],
        [image, *others],
        [(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for name, value in outputs.items()],
        metadata,
    )


def square_finder(
    path: Path, *, only_size: tuple[int, int] | None = None, metadata: Mapping[str, str] | None = None
) -> Path:
    """A YOLOX of three classes, for any batch and size: it finds blue, green and red squares of 32 pixels.

    A square that fills a cell of stride 32 scores 2 · brightness - 1 in its colour's class, and nothing else does.

    Args:
        only_size: (width, height) at which alone it runs, though it declares any.
    """
    n_columns = 5 + 3
    nodes = []
    source = "images"
    if only_size is not None:
        nodes.append(constant("zero", np.zeros((1, 1, only_size[1], only_size[0]), np.float32)))
        nodes.append(helper.make_node("Add", ["images", "zero"], ["checked"]))
        source = "checked"
    nodes.append(constant("shape", np.array([0, n_columns, -1], np.int64)))
    nodes += [constant("low", np.array(0, np.float32)), constant("high", np.array(1, np.float32))]
    for stride in (8, 16, 32):
        weight = np.zeros((n_columns, 3, 1, 1), np.float32)
        bias = np.zeros(n_columns, np.float32)
        if stride == 32:
            weight[[5, 6, 7], [0, 1, 2]] = 2 / 255
            bias[:] = [0.5, 0.5, 0, 0, 1, -1, -1, -1]
        nodes += [
            constant(f"weight{stride}", weight),
            constant(f"bias{stride}", bias),
            helper.make_node(
                "AveragePool", [source], [f"mean{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("Conv", [f"mean{stride}", f"weight{stride}", f"bias{stride}"], [f"raw{stride}"]),
            helper.make_node("Clip", [f"raw{stride}", "low", "high"], [f"map{stride}"]),
            helper.make_node("Reshape", [f"map{stride}", "shape"], [f"list{stride}"]),
            helper.make_node("Transpose", [f"list{stride}"], [f"rows{stride}"], perm=[0, 2, 1]),
        ]
    nodes.append(helper.make_node("Concat", ["rows8", "rows16", "rows32"], ["output"], axis=1))
    image = ("images", TensorProto.FLOAT, ("batch", 3, "height", "width"))
    output = ("output", TensorProto.FLOAT, ("batch", "anchors", n_columns))
    return save(path, nodes, [image], [output], metadata)


def sized_detr(path: Path, labels: NDArray[np.int64], boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Path:
    """An RT-DETR with its post-processing: boxes (1, Q, 4) as shares, multiplied by the size it is told."""
    nodes = [
        constant("labels", labels),
        constant("share", boxes),
        constant("scores", scores),
        constant("axis", np.array([1], np.int64)),
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["unit"], axis=1),
        helper.make_node("Unsqueeze", ["unit", "axis"], ["factor"]),
        helper.make_node("Mul", ["share", "factor"], ["boxes"]),
    ]
    n = labels.shape[1]
    return save(
        path,
        nodes,
        [IMAGE, ("orig_target_sizes", TensorProto.INT64, (1, 2))],
        [
            ("labels", TensorProto.INT64, (1, n)),
            ("boxes", TensorProto.FLOAT, (1, n, 4)),
            ("scores", TensorProto.FLOAT, (1, n)),
        ],
    )


def any_sized_detr(path: Path) -> Path:
    """An RT-DETR for canvases of any size and number: one object in the middle half of each."""
    nodes = [
        constant("share", np.array([[[0.25, 0.25, 0.75, 0.75]]], np.float32)),
        constant("axis", np.array([1], np.int64)),
        constant("first", np.array([0], np.int64)),
        constant("zero", np.array(0, np.float32)),
        constant("sure", np.array(0.9, np.float32)),
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["unit"], axis=1),
        helper.make_node("Unsqueeze", ["unit", "axis"], ["factor"]),
        helper.make_node("Mul", ["share", "factor"], ["boxes"]),
        helper.make_node("Gather", ["size", "first"], ["width"], axis=1),
        helper.make_node("Mul", ["width", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "sure"], ["scores"]),
        helper.make_node("Cast", ["nothing"], ["labels"], to=TensorProto.INT64),
    ]
    return save(
        path,
        nodes,
        [("images", TensorProto.FLOAT, ("n", 3, "h", "w")), ("orig_target_sizes", TensorProto.INT64, ("n", 2))],
        [
            ("labels", TensorProto.INT64, ("n", 1)),
            ("boxes", TensorProto.FLOAT, ("n", 1, 4)),
            ("scores", TensorProto.FLOAT, ("n", 1)),
        ],
    )


def sequence_model(path: Path) -> Path:
    """A model whose output is a list of tensors."""
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    output = helper.make_value_info("list", helper.make_sequence_type_proto(tensor))
    image = helper.make_tensor_value_info(*IMAGE)
    graph = helper.make_graph([helper.make_node("SequenceConstruct", ["images"], ["list"])], "graph", [image], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path
