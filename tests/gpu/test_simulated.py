"""Runs the tests of tests/gpu/simulated, each module in a process whose CUDA driver is simulated."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.driver.build import VARIABLE, simulated_driver

_MODULES = sorted((Path(__file__).parent / "simulated").glob("test_*.py"))
_ROOT = Path(__file__).resolve().parents[2]
_TIME_LIMIT_S = 110


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated driver, one for all processes of the test run."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed", exc_type=ImportError)
    folder = tmp_path_factory.getbasetemp()
    return simulated_driver(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.mark.parametrize("module", _MODULES, ids=lambda module: module.stem)
def test_on_a_simulated_gpu(library: Path, tmp_path: Path, module: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    folders = [str(library.parent), environment.get("LD_LIBRARY_PATH", "")]
    environment |= {VARIABLE: str(library), "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders))}
    # Loading all installed plugins takes longer than most of these tests.
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-q -ra --strict-markers"}
    plugins = ["-p", "pytest_timeout", "-p", "no:cacheprovider"]
    options = ["--override-ini=addopts=", f"--timeout={_TIME_LIMIT_S - 10}", f"--basetemp={tmp_path / 'inner'}"]
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", "pytest", *plugins, *options, str(module)],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIME_LIMIT_S,
        check=False,
    )
    if done.returncode != 0 or not re.search(r"\b[1-9]\d* passed", done.stdout):
        pytest.fail(done.stdout, pytrace=False)
