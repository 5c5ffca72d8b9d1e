"""The finder of the model that is served, with which training images are preprocessed unless another is given."""

from functools import cache

from digits.finder import Finder
from digits.settings import ModelSettings


@cache
def served_finder() -> Finder:
    """Raises ModelError and SettingsError."""
    return Finder.next_to(ModelSettings.from_environment().model_path)
