"""The packages that only training needs: scikit-learn for the failure model, PyTorch for the detector."""

from collections.abc import Mapping
from importlib.util import find_spec

from app.core.errors import SettingsError

FOR_FAILURE_MODEL: Mapping[str, str] = {"sklearn": "scikit-learn", "joblib": "joblib", "matplotlib": "matplotlib"}
FOR_DETECTOR: Mapping[str, str] = {"torch": "torch", "onnx": "onnx"}
"""Package to install by module."""


def require_packages(packages: Mapping[str, str]) -> None:
    """Say at once, not after minutes of work, what is not installed.

    Raises:
        SettingsError: one of the packages is missing.
    """
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    if missing:
        raise SettingsError(
            f"Training needs {', '.join(missing)}: install the extra with pip install 'flexpatch-service[train]'."
        )
