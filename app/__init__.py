"""FlexPatch Service."""

import os

# NumPy's matrices are small here. OpenBLAS would still put threads on them, which then spin for a while each time: on
# two cores that doubled the processor time of a frame. To be set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# ONNX Runtime would tell its makers about this machine and its models. To be set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
