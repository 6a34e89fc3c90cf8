"""FlexPatch Service."""

import os

# NumPy's matrices are small here. OpenBLAS would still put threads on them, which then spin for a while each time: measured
# on two cores, they doubled the processor time of a frame and took a third longer. To be set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
