"""The finder of the model that is served, with which training images are preprocessed unless another is given."""

from functools import cache

from digits.finder import Finder
from digits.session import ModelFile
from digits.settings import ModelSettings
from digits.version import FINDER


@cache
def served_finder() -> Finder:
    """Raises ModelError and SettingsError."""
    return Finder(ModelFile.read(ModelSettings.from_environment().model_path.with_name(FINDER)), "cpu")
