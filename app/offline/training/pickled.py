"""The fitted estimator as scikit-learn has it, in joblib's format: for people who go on from there.

Reading such a file can run any code, so the service takes one only where the operator allows it and its SHA-256 is
in the manifest of the models folder. It then predicts by the safe form made from the estimator, not by the estimator.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from app.core.errors import ModelNotFound, ModelUnreadable
from app.core.manifest import MANIFEST, read_manifest, sha256_of
from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_file import FORMAT, check_columns
from app.flexpatch.failure_forms import CLASSES, TrainedFailure
from app.offline.training.candidates import Fitted, by_name
from app.offline.training.extras import FOR_FAILURE_MODEL, require_packages
from app.offline.training.validation import Trained

TASK = "tracking-failure"
SUFFIXES = frozenset({".joblib", ".pkl", ".pickle"})


def write_pickled_model(trained: Trained, path: Path) -> None:
    """Store the estimator with what must fit when it is read again."""
    import joblib  # noqa: PLC0415 - training only, an extra
    import sklearn  # noqa: PLC0415

    joblib.dump(
        {
            "format": FORMAT,
            "name": trained.fitted.candidate.name,
            "features": list(FEATURES),
            "classes": list(CLASSES),
            "scikit_learn": sklearn.__version__,
            "parameters": dict(trained.fitted.parameters),
            "calibration": {"predicted": trained.predicted, "real": trained.real},
            "priority_weights": trained.priority_weights,
            "estimator": trained.fitted.estimator,
        },
        path,
    )


def load_pickled_model(path: Path, models_dir: Path) -> TrainedFailure:
    """Read a pinned model that the operator allowed.

    Args:
        models_dir: the folder whose manifest must hold its SHA-256.
    Raises:
        ModelNotFound: no such file.
        ModelUnreadable: not pinned; or damaged, or of other features, classes or version of scikit-learn.
        SettingsError: the packages to read it are not installed.
    """
    require_packages(FOR_FAILURE_MODEL)
    import joblib  # noqa: PLC0415

    data = _pinned(path, models_dir)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another version is told below, in one sentence
            content = joblib.load(io.BytesIO(data))
    except Exception as error:
        raise ModelUnreadable(f"{path} is not a model that can be read here: {error}. Train it again.") from error
    return _model(content, path)


def _pinned(path: Path, models_dir: Path) -> bytes:
    """The file's content, once its SHA-256 is found in the manifest; nothing of it is interpreted before."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelNotFound(f"There is no failure model at {path}.") from None
    except OSError as error:
        raise ModelUnreadable(f"{path} cannot be read: {error.strerror or error}.") from error
    digest = sha256_of(data)
    if not any(entry.sha256 == digest and entry.task == TASK for entry in read_manifest(models_dir)):
        raise ModelUnreadable(
            f"{path} is not pinned: {models_dir / MANIFEST} has no entry with task {TASK} and sha256 {digest}."
        )
    return data


def _model(content: Any, path: Path) -> TrainedFailure:
    import sklearn  # noqa: PLC0415

    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelUnreadable(f"{path} is not a failure model: it lacks the format {FORMAT}.")
    check_columns(content.get("features"), content.get("classes"), str(path))
    if content.get("scikit_learn") != sklearn.__version__:
        raise ModelUnreadable(
            f"{path} was made with scikit-learn {content.get('scikit_learn')} and this is {sklearn.__version__}: "
            "install that version, train again, or use failure_model.json, which needs none."
        )
    try:
        fitted = Fitted(by_name(content["name"]), content["estimator"], content["parameters"])
        knots = content["calibration"]
        trained = Trained(
            fitted, np.asarray(knots["predicted"]), np.asarray(knots["real"]), np.asarray(content["priority_weights"])
        )
        return trained.model()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelUnreadable(f"{path} makes no model: {error}. Train it again.") from error
