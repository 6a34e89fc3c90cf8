"""Class names: from a model's own metadata, or COCO's where their number says so."""

import ast
import json
from collections.abc import Mapping

_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
    "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,"
    "tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
    "tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,"
    "hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,"
    "keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
    "hair drier,toothbrush"
)
COCO_80 = tuple(_COCO.split(","))

_COCO_UNUSED = frozenset({0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
"""Category numbers of COCO's original list of 91 that never got an annotation."""

_MAX_CLASSES = 100_000

_METADATA_KEYS = ("names", "class_names", "classes", "labels")


def from_metadata(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names as exporters write them: a list, or numbers mapped to names, in Python or JSON syntax.

    Returns:
        The names in order of class id; None if there are none, or none that can be read.
    """
    for key in _METADATA_KEYS:
        value = read_literal(metadata.get(key, ""))
        if isinstance(value, dict):
            by_id = {int(number): name for number, name in value.items() if str(number).isdecimal()}
            if by_id and max(by_id) < _MAX_CLASSES:
                return tuple(str(by_id.get(number, f"class_{number}")) for number in range(max(by_id) + 1))
        if isinstance(value, list | tuple) and value:
            return tuple(str(name) for name in value)
    return None


def resolve(n_classes: int, own: tuple[str, ...] | None) -> tuple[str, ...]:
    """Names for `n_classes` classes: the model's own if they are as many, COCO's, or `class_0` and so on."""
    if own is not None and len(own) == n_classes:
        return own
    if n_classes == len(COCO_80):
        return COCO_80
    if n_classes == len(COCO_80) + len(_COCO_UNUSED):
        remaining = iter(COCO_80)
        return tuple(f"class_{i}" if i in _COCO_UNUSED else next(remaining) for i in range(n_classes))
    return tuple(f"class_{number}" for number in range(n_classes))


def read_literal(text: str) -> object:
    """The value written in `text` in JSON or as a Python literal; None if it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
