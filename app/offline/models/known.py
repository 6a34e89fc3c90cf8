"""Public detectors that can be installed by name.

Addresses are the authors' own releases or, where these have no ONNX, exports of a fixed revision. A SHA-256 stands here
only if several independent projects publish the same; what has none is recorded when it is fetched first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.core.types import Size

_MEBI = 1024 * 1024
LARGEST_MODEL_BYTES = 1024 * _MEBI
"""Nothing larger is fetched."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """Where a model comes from, and what it may be used for."""

    name: str
    address: str
    licence: str
    """SPDX identifier of the weights."""
    input: Size
    sha256: str | None = None
    n_bytes: int | None = None

    @property
    def file(self) -> str:
        return f"{self.name}.onnx"

    @property
    def files(self) -> tuple[str, ...]:
        """What the file may be called: by us, or by its authors, if they gave it a name that tells it from others."""
        theirs = self.address.rpartition("/")[2]
        return (self.file,) if theirs == "model.onnx" else (self.file, theirs)


_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_NANODET = "https://github.com/RangiLyu/nanodet/releases/download/v1.0.0-alpha-1"
_EXPORTS = "https://huggingface.co/onnx-community"

_ALL = (
    KnownModel(
        "yolox-nano",
        f"{_YOLOX}/yolox_nano.onnx",
        "Apache-2.0",
        Size(416, 416),
        "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        3_659_407,
    ),
    KnownModel(
        "yolox-tiny",
        f"{_YOLOX}/yolox_tiny.onnx",
        "Apache-2.0",
        Size(416, 416),
        "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
        20_219_662,
    ),
    KnownModel(
        "yolox-s",
        f"{_YOLOX}/yolox_s.onnx",
        "Apache-2.0",
        Size(640, 640),
        "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
        35_858_002,
    ),
    KnownModel("nanodet-plus-m-416", f"{_NANODET}/nanodet-plus-m_416.onnx", "Apache-2.0", Size(416, 416)),
    KnownModel(
        "dfine-n",
        f"{_EXPORTS}/dfine_n_coco-ONNX/resolve/380d2839c327efaf65dd0fe0c2c10ab7fadd5473/onnx/model.onnx",
        "Apache-2.0",
        Size(640, 640),
        "0f684f409618ee8a822410e754a29caa817d1aa16283ce89cad936d0a48e2f35",
        15_258_358,
    ),
    KnownModel(
        "dfine-s",
        f"{_EXPORTS}/dfine_s_coco-ONNX/resolve/a3cf03147a9b86c78475139115c8ac142577352d/onnx/model.onnx",
        "Apache-2.0",
        Size(640, 640),
        "cd8a49a945feda6d28c6304ae8ae85c2759ba1d78a5a83a22c5ce8db82ef7238",
        41_535_197,
    ),
    KnownModel(
        "rtdetr-v2-r18",
        f"{_EXPORTS}/rtdetr_v2_r18vd-ONNX/resolve/936f90b6a476c6da4dfe053fc521af55285976ba/onnx/model.onnx",
        "Apache-2.0",
        Size(640, 640),
        "583a236ac21c95a7fd94f284fc21485e42355bfef82c27011ba78fbc09ee87e2",
        81_057_510,
    ),
    KnownModel(
        "rfdetr-nano",
        f"{_EXPORTS}/rfdetr_nano-ONNX/resolve/eae21cee0687a91bcf9fa071605c48d7705d2d91/onnx/model.onnx",
        "Apache-2.0",
        Size(384, 384),
        "9cbac6b11ce34a03034e4d5a24cfac5f18632fd6761d1311dd640232088d7fee",
        108_074_865,
    ),
    KnownModel(
        "yolov10n",
        f"{_EXPORTS}/yolov10n/resolve/57657320425ee34056408a57ad9d29c4d4815bd8/onnx/model.onnx",
        "AGPL-3.0",
        Size(640, 640),
        "a77dd863933f184a19e84361c64b788228a7c7dacc2c78939239a96ad3efca3b",
        9_386_116,
    ),
)

KNOWN: Mapping[str, KnownModel] = MappingProxyType({model.name: model for model in _ALL})
