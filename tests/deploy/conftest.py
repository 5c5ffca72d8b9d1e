import shutil

import pytest

from tests.helpers.docker import IMAGE, build, docker


@pytest.fixture(scope="module")
def image() -> str:
    if not shutil.which("docker") or docker("info", check=False).returncode != 0:
        pytest.skip("no Docker engine answers")
    created = ["CREATED=2026-11-26T12:00:00Z", "REVISION=1a2b3c", "SOURCE=https://example.org/digits"]
    return build(IMAGE, *(option for one in created for option in ("--build-arg", one)))
