"""The versions of the model that are served, each with its layers."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from digits.activations import Activations
from digits.classifier import EXPLANATION, Classifier, ModelError, ModelFile
from digits.recognizer import Recognizer
from digits.settings import ModelSettings

log = logging.getLogger(__name__)

Given = TypeVar("Given")
Made = TypeVar("Made")


class VersionError(Exception):
    """The version asked for is not served; the message may be shown to the sender."""


@dataclass(frozen=True)
class VersionFiles:
    """All that a version is made of, read once."""

    model: ModelFile
    explanation: ModelFile | None

    @classmethod
    def read(cls, model: Path) -> "VersionFiles":
        """Raises ModelError."""
        file = ModelFile.read(model)
        return cls(file, file.beside(EXPLANATION))


def read_versions(settings: ModelSettings) -> list[VersionFiles]:
    """The files of every version that can be read, the highest first.

    Raises ModelError where none can, and SettingsError where there is none.
    """
    return _each(VersionFiles.read, settings.model_paths)


def try_out(files: Sequence[VersionFiles], settings: ModelSettings) -> list[VersionFiles]:
    """Those that can be loaded and run, and of these the layers that can be. Raises ModelError where none can."""

    def tried(one: VersionFiles) -> VersionFiles:
        _loaded(one, settings)
        try:
            Activations(one.explanation).try_out()
        except ModelError as error:
            log.error("Skipped the layers of a version of the model: %s", error)
            return replace(one, explanation=None)
        return one

    return _each(tried, files)


class Registry:
    """Every version that loads, by its number as text, the highest first, which is the default."""

    def __init__(self, files: Sequence[VersionFiles], settings: ModelSettings) -> None:
        """Loads versions and warms them up; one that cannot be is skipped and logged. Raises ModelError if none can."""
        self._recognizers: dict[str, Recognizer] = {}
        self._activations: dict[str, Activations] = {}
        for recognizer, one in _each(lambda one: (_loaded(one, settings), one), files):
            self._recognizers[recognizer.classifier.version] = recognizer
            self._activations[recognizer.classifier.version] = Activations(one.explanation)

    @property
    def versions(self) -> list[str]:
        """All that are served, the default first."""
        return list(self._recognizers)

    def recognizer(self, version: str | None = None) -> Recognizer:
        """The recognizer of a version, of the default unless given. Raises VersionError."""
        return self._recognizers[self._known(version)]

    def classifier(self, version: str | None = None) -> Classifier:
        """The classifier of a version, of the default unless given. Raises VersionError."""
        return self.recognizer(version).classifier

    def activations(self, version: str | None = None) -> Activations:
        """The activations of a version, of the default unless given. Raises VersionError."""
        return self._activations[self._known(version)]

    def _known(self, version: str | None) -> str:
        version = self.versions[0] if version is None else version
        if version not in self._recognizers:
            raise VersionError(f"expected a version that is served, one of {', '.join(self.versions)}; got {version}")
        return version


def _loaded(files: VersionFiles, settings: ModelSettings) -> Recognizer:
    recognizer = Recognizer.from_settings(settings, files.model)
    recognizer.classifier.warm_up()
    return recognizer


def _each(attempt: Callable[[Given], Made], givens: Iterable[Given]) -> list[Made]:
    """What comes of each, without those that fail, which is logged. Raises ModelError where all do."""
    made: list[Made] = []
    failures: list[ModelError] = []
    for given in givens:
        try:
            made.append(attempt(given))
        except ModelError as error:
            failures.append(error)
    if not made:
        raise failures[0]
    for failure in failures:
        log.error("Skipped a version of the model: %s", failure)
    return made
