"""Free the input size of a NanoDet-m export, to evaluate it on canvases of several sizes.

    python -m tests.offline.evaluation.free_nanodet nanodet_m_416.onnx nanodet_m.onnx

The published files are exported for one size: it is written into the reshapes of ShuffleNet's channel shuffles and into
the targets of the resizes. A shuffle is a fixed order of channels, and every resize halves or doubles; said like that,
the network takes any multiple of 32.
"""

import sys

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper


def freed(model: ModelProto) -> ModelProto:
    """The same network for inputs (1, 3, H, W) of any multiples of 32.

    Raises:
        ValueError: it is no NanoDet-m export.
    """
    graph = model.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    if not any(node.op_type == "Reshape" and len(constants.get(node.input[1], ())) == 5 for node in graph.node):
        raise ValueError("there is no channel shuffle: this is no NanoDet-m export")
    made_by = {output: node for node in graph.node for output in node.output}
    nodes: list[NodeProto] = []
    shuffled: set[str] = set()
    last_width = 0  # the first resize goes up from the coarsest level, and each goes on from where the last one ended
    for node in graph.node:
        if node.op_type == "Reshape" and len(constants[node.input[1]]) == 4:
            transposed = made_by[node.input[0]]
            split = made_by[transposed.input[0]]
            _, n_groups, n_each = (int(length) for length in constants[split.input[1]][:3])
            order = np.arange(n_groups * n_each).reshape(n_groups, n_each).T.ravel()
            name = f"{node.output[0]}_order"
            graph.initializer.append(numpy_helper.from_array(order, name))
            nodes.append(helper.make_node("Gather", [split.input[0], name], node.output, axis=1))
            shuffled.update((*transposed.output, *split.output))
        elif node.op_type == "Resize":
            width = int(constants[node.input[3]][3])
            factor = 2.0 if width > last_width else 0.5
            last_width = width
            name = f"{node.output[0]}_scales"
            graph.initializer.append(numpy_helper.from_array(np.array([1, 1, factor, factor], np.float32), name))
            resized = NodeProto()
            resized.CopyFrom(node)
            del resized.input[2:]
            resized.input.append(name)
            nodes.append(resized)
        else:
            nodes.append(node)
    nodes = [node for node in nodes if not shuffled & set(node.output)]
    sizes = graph.input[0].type.tensor_type.shape.dim
    sizes[2].dim_param, sizes[3].dim_param = "height", "width"
    for output in graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_{output.name}"
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for item in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(item)
    for item in [item for item in graph.input if item.name in constants]:
        graph.input.remove(item)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    onnx.save(freed(onnx.load(sys.argv[1])), sys.argv[2])
