"""The packages that only training needs."""

from importlib.util import find_spec

from app.core.errors import SettingsError

_PACKAGES = {"sklearn": "scikit-learn", "joblib": "joblib", "matplotlib": "matplotlib"}


def require_training_packages() -> None:
    """Say at once, not after minutes of work, what is not installed.

    Raises:
        SettingsError: one of the packages is missing.
    """
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise SettingsError(
            f"Training needs {', '.join(missing)}: install the extra with pip install 'flexpatch-service[train]'."
        )
