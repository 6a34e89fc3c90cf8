"""What may run a detector, and in which order it is tried."""

from typing import Literal

Backend = Literal["auto", "tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime-cpu"]
