"""What the models folder ships is what its manifest says, and works."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from app.chosen_models import FAILURE_MODEL, SHIPPED_MODELS, failure_model
from app.config import load_settings
from app.core.manifest import INSTALLED, MANIFEST, read_list, sha256_of
from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_forms import CLASSES, TrainedFailure

MODELS = Path(__file__).parent.parent / "models"
FOR_PEOPLE = {".md"}


def test_every_shipped_model_is_in_the_manifest_with_its_checksum() -> None:
    entries = {item["file"]: item["sha256"] for item in read_list(MODELS / MANIFEST)}
    own = {INSTALLED, *(item["file"] for item in read_list(MODELS / INSTALLED))}
    own |= {path.name for path in MODELS.glob(".*")}
    files = {path.name for path in MODELS.iterdir() if path.suffix not in FOR_PEOPLE and path.name != MANIFEST} - own
    assert files == set(entries)
    assert {name: sha256_of((MODELS / name).read_bytes()) for name in files} == entries


def test_every_entry_says_what_the_model_is_and_under_which_licence() -> None:
    for entry in json.loads((MODELS / MANIFEST).read_text(encoding="utf-8")):
        assert {"file", "sha256", "task", "input", "classes", "licence", "made"} <= set(entry)
        assert (MODELS / entry["file"]).with_suffix(".md").is_file()


def test_the_shipped_failure_model_is_the_default_and_makes_sense() -> None:
    assert (SHIPPED_MODELS / FAILURE_MODEL).samefile(MODELS / FAILURE_MODEL)
    model = failure_model(load_settings(None, {"models_dir": "nowhere"}, {}))
    assert isinstance(model, TrainedFailure)
    features = np.zeros((3, len(FEATURES)))
    usual = {"min_eigenvalue": 0.01, "ncc": 0.95, "confidence": 0.8, "inlier_ratio": 1.0, "height_px": 120.0}
    usual |= {"visible_share": 1.0, "aspect": 0.4, "worst_ncc": 0.93, "worst_inlier_ratio": 0.9, "n_hits": 5.0}
    for name, value in usual.items():
        features[:, FEATURES.index(name)] = value
    features[:, FEATURES.index("detection_age_s")] = [0.1, 0.1, 2.0]
    features[1, FEATURES.index("ncc")] = features[1, FEATURES.index("worst_ncc")] = -0.1
    fresh, unlike, old = model.predict(features)
    assert fresh < 0.2
    assert fresh < unlike
    assert fresh < old
    assert CLASSES[model.priorities(features)[0]] == "low"


def test_a_wheel_carries_the_shipped_models(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=MODELS.parent, check=True, capture_output=True, timeout=60)  # noqa: S603
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(name).name for name in archive.namelist() if name.startswith("app/models/")}
        assert "app/main.py" in archive.namelist()
        assert not [name for name in archive.namelist() if "/results/" in name]
    listed = {str(item["file"]) for item in read_list(MODELS / MANIFEST)}
    assert packed == listed | {Path(name).with_suffix(".md").name for name in listed} | {MANIFEST, "README.md"}
