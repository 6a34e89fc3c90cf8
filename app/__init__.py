"""FlexPatch Service."""

import os

# NumPy's matrices are small here. OpenBLAS would still put threads on them, which then spin for a while each time: on
# two cores that doubled the processor time of a frame. To be set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
