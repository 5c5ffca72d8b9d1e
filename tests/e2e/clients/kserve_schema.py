"""Checks manifests (JSON on standard input) against the classes of KServe's OpenAPI description.

Prints one line per unknown, mistyped or missing field. Run in its own environment.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve.models
import kubernetes.client.models
import pydantic

KINDS = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "V1alpha1ServingRuntime",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
}
# Classes that Kubernetes' own package names differently.
RENAMED = {"K8sIoApiAppsV1DeploymentStrategy": "V1DeploymentStrategy"}
SIMPLE = {"str": str, "int": int, "bool": bool}


def mistakes(value: Any, name: str, path: str) -> Iterator[str]:
    name = RENAMED.get(name, name)
    if name in SIMPLE:
        if type(value) is not SIMPLE[name]:
            yield f"{path}: expected {name}; got {value!r}"
    elif inner := re.fullmatch(r"list\[(.*)\]", name):
        for number, one in enumerate(value):
            yield from mistakes(one, inner[1], f"{path}[{number}]")
    elif inner := re.fullmatch(r"dict\(str, (.*)\)", name):
        for key, one in value.items():
            yield from mistakes(one, inner[1], f"{path}.{key}")
    elif hasattr(kserve.models, name):
        yield from mistakes_of_kserve(value, getattr(kserve.models, name), path)
    else:
        try:
            getattr(kubernetes.client.models, name).model_validate(value, strict=True)
        except pydantic.ValidationError as error:
            yield f"{path}: {error}"


def mistakes_of_kserve(value: Any, described: Any, path: str) -> Iterator[str]:
    attributes = {key: attribute for attribute, key in described.attribute_map.items()}
    for key in value.keys() - attributes.keys():
        yield f"{path}: {described.__name__} has no field {key}"
    known = {attributes[key]: one for key, one in value.items() if key in attributes}
    try:
        described(**known)
    except ValueError as error:  # a field is missing
        yield f"{path}: {error}"
    for attribute, one in known.items():
        yield from mistakes(one, described.openapi_types[attribute], f"{path}.{described.attribute_map[attribute]}")


for manifest in json.load(sys.stdin):
    kind = KINDS[manifest["apiVersion"], manifest["kind"]]
    for mistake in mistakes(manifest, kind, manifest["kind"]):
        print(mistake)
