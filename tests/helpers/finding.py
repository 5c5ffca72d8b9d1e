"""The shipped finder, loaded once per process."""

from functools import cache

from digits.decode import GreyImage, Pixels
from digits.finder import Finder
from digits.preprocess import Preprocessed
from digits.preprocess import preprocess as preprocess_with
from digits.settings import ModelSettings


@cache
def finder() -> Finder:
    return Finder.next_to(ModelSettings().model_path)


def preprocess(image: GreyImage | Pixels) -> Preprocessed:
    return preprocess_with(image, finder())
