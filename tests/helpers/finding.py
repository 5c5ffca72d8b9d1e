"""The shipped finder, loaded once per process."""

from functools import cache

from digits.decode import GreyImage, Pixels
from digits.finder import Finder
from digits.preprocess import Preprocessed
from digits.preprocess import preprocess as preprocess_with
from digits.session import ModelFile
from digits.settings import ModelSettings
from digits.version import FINDER


@cache
def finder() -> Finder:
    return Finder(ModelFile.read(ModelSettings().model_path.with_name(FINDER)), "cpu")


def preprocess(image: GreyImage | Pixels) -> Preprocessed:
    return preprocess_with(image, finder())
