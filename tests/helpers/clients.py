"""Real V2 clients, each in its own environment because their pinned dependencies conflict."""

import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.helpers.paths import ROOT

TRITON, KSERVE, MLSERVER = "tritonclient[grpc,http]==2.73.0", "kserve==0.21.0", "mlserver==1.7.1"


def environment_of(packages: str) -> Path:
    """The bin folder of a virtual environment with these packages, created on first use and kept."""
    directory = ROOT / ".venv-clients" / packages.replace(" ", "-")
    directory.mkdir(parents=True, exist_ok=True)
    done = directory.with_suffix(".done")
    with FileLock(directory.with_suffix(".lock")):
        if done.exists():
            return directory / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages.split()]
        subprocess.run([directory / "bin" / "python", *pip], check=True)
        done.touch()
    return directory / "bin"
