import json
import re
from itertools import product
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from digits.classifier import Classifier
from service.routes.pages import card_figures
from tests.helpers.client import TYPES, get
from tests.helpers.paths import ROOT

STATIC = ROOT / "service" / "static"
FILES = sorted(path.name for path in (STATIC / "page").iterdir())
SAMPLES = sorted(path.name for path in (STATIC / "samples").iterdir())
TEMPLATES = sorted(path.name for path in (ROOT / "service" / "templates").iterdir())


def test_page_shows_the_served_model(client: FlaskClient, classifier: Classifier) -> None:
    response = get(client, "/")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert classifier.metadata["formula"].replace(">", "&gt;") in response.text
    assert f"models/digits/{classifier.model['version']}/model.onnx" in response.text
    assert f"{int(classifier.metadata['multiply_adds']):,}" in response.text


def test_page_shows_the_model_card(client: FlaskClient) -> None:
    for cell in ("MNIST test set", "real images", "10,000", "189"):
        assert f">{cell}</" in get(client, "/").text


def test_content_security_policy(client: FlaskClient) -> None:
    policy = get(client, "/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"unsafe|http|data:|blob:|\*", policy)
    for name in ["", *(f"page/{file}" for file in FILES)]:
        addresses = set(re.findall(r"https?://[^\"' )]*", get(client, f"/{name}").text))
        assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", [f"/page/{name}" for name in FILES] + [f"/samples/{name}" for name in SAMPLES])
def test_static_file(path: str, client: FlaskClient) -> None:
    response = get(client, path)
    assert response.status_code == 200
    assert response.mimetype == TYPES[Path(path).suffix]
    again = get(client, path, headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_templates_are_not_served(client: FlaskClient) -> None:
    assert TEMPLATES
    prefixes = ("", "../", "../templates/", "../../templates/", "..%2f..%2ftemplates%2f")
    for folder, prefix, name in product(("page", "samples", "docs"), prefixes, TEMPLATES):
        response = get(client, f"/{folder}/{prefix}{name}")
        assert response.status_code == 404
        assert list(response.json or {}) == ["error"]


def test_every_static_file_is_used(client: FlaskClient) -> None:
    used = get(client, "/").text + "".join(get(client, f"/page/{name}").text for name in FILES)
    assert all(re.search(rf'["/]{re.escape(name)}"', used) for name in [*FILES, *SAMPLES])


def test_samples_take_tens_of_kilobytes_each(client: FlaskClient) -> None:
    assert all(len(get(client, f"/samples/{name}").data) < 50_000 for name in SAMPLES)


def test_first_load_is_below_100_kb(client: FlaskClient) -> None:
    assert sum(len(get(client, path).data) for path in ["/", *(f"/page/{name}" for name in FILES)]) < 100_000


def test_figures_of_another_version_are_ignored(tmp_path: Path) -> None:
    model = tmp_path / "digits" / "3" / "model.onnx"
    assert card_figures(model, "3") == []
    figure = {"name": "MNIST", "value": 0.995, "low": 0.991, "high": 0.998, "count": 10_000, "higher_is_better": True}
    (tmp_path / "figures.json").write_text(json.dumps({"version": "3", "figures": [figure]}))
    assert card_figures(model, "3") == [("MNIST", "99.50% (99.10% to 99.80%)", "10,000")]
    assert card_figures(model, "2") == []
    (tmp_path / "figures.json").write_text("{}")
    assert card_figures(model, "3") == []
