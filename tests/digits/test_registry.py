import logging
import shutil
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from digits.registry import Registry, read_versions
from digits.session import ModelError
from digits.settings import SettingsError
from digits.version import VersionFiles
from service.app import create_app
from service.settings import Settings
from tests.helpers.client import assert_error
from tests.helpers.images import example


def add_version(folder: Path, version: str, content: bytes | None = None) -> None:
    """Adds a version: the shipped model, or the given bytes instead."""
    shutil.copytree(Settings().model_path.parent, folder / version)
    if content is not None:
        (folder / version / "model.onnx").write_bytes(content)


def load_registry(settings: Settings) -> Registry:
    return Registry(read_versions(settings), settings)


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    for version in ("3", "20", "100"):
        add_version(tmp_path, version)
    return create_app(Settings(model=tmp_path, provider="cpu")).test_client()


@pytest.mark.parametrize(("query", "version"), [("", "100"), ("?version=3", "3"), ("?version=20", "20")])
def test_query_selects_the_version_and_the_highest_is_default(query: str, version: str, client: FlaskClient) -> None:
    for path in ("/predict", "/explain"):
        answer = client.post(path + query, data=example(7)).json
        assert answer is not None
        assert answer["digit"] == 7
        assert answer["model"] == {"name": "digits", "version": version}
    assert client.get(f"/explain/layer_1_conv{query}").status_code == 200


@pytest.mark.parametrize("version", ["", "1", "03", "latest", "../3"])
def test_unknown_version(version: str, client: FlaskClient) -> None:
    message = f"expected a served version, one of 100, 20, 3; got {version}"
    for path in ("/predict", "/predict/batch", "/explain"):
        assert_error(client.post(path, query_string={"version": version}, data=example(7)), 404, message)


def test_broken_version_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2", b"broken")
    with caplog.at_level(logging.ERROR):
        models = load_registry(Settings(model=tmp_path, provider="cpu"))
    assert models.versions == ["1"]
    assert [f"{tmp_path / '2' / 'model.onnx'}: expected an ONNX model" in caplog.text] == [True]


def test_version_without_a_finder_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")
    (tmp_path / "2" / "finder.onnx").unlink()
    models = load_registry(Settings(model=tmp_path, provider="cpu"))
    assert models.versions == ["1"]
    assert f"{tmp_path / '2' / 'finder.onnx'}: expected an ONNX model; got: No such file" in caplog.text


def test_digest_covers_both_networks(tmp_path: Path) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")
    for name in ("finder.onnx", "model.onnx"):
        before = VersionFiles.read(tmp_path / "2" / "model.onnx").sha256
        (tmp_path / "2" / name).write_bytes(b"other")
        assert VersionFiles.read(tmp_path / "2" / "model.onnx").sha256 != before


def test_no_usable_version_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected <version>/model\.onnx in .*; got none"):
        load_registry(Settings(model=tmp_path))
    add_version(tmp_path, "1", b"broken")
    with pytest.raises(ModelError, match="cannot load"):
        load_registry(Settings(model=tmp_path, provider="cpu"))
