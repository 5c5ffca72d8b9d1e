"""Docker, run by its command line."""

import os
import subprocess

from tests.helpers.paths import ROOT

IMAGE = "digits-test"


def docker(*arguments: str, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], input=text, capture_output=True, text=True, check=check, timeout=900)


def build(tag: str, *options: str, text: str = "") -> str:
    """Builds an image of the checkout, or from a Dockerfile given as text."""
    # Engines without a bridge network need extra flags, such as --network host.
    flags = os.environ.get("DOCKER_BUILD_FLAGS", "").split()
    built = docker("build", *flags, *options, "-t", tag, "-" if text else str(ROOT), check=False, text=text)
    assert built.returncode == 0, built.stdout + built.stderr
    return tag
