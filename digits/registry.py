"""The served versions of the model, each with its activations."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from digits.activations import Activations
from digits.recognizer import Recognizer
from digits.session import ModelError
from digits.settings import ModelSettings
from digits.version import VersionFiles

log = logging.getLogger(__name__)

Source = TypeVar("Source")
Loaded = TypeVar("Loaded")


class VersionError(Exception):
    """The requested version is not served; the message may be shown to the client."""


def read_versions(settings: ModelSettings) -> list[VersionFiles]:
    """The readable versions, the highest first. Raises ModelError if none is readable, SettingsError if none exists."""
    return _skip_broken(VersionFiles.read, settings.model_paths)


def try_out(files: Sequence[VersionFiles], settings: ModelSettings) -> list[VersionFiles]:
    """The versions that load and run, without activations that do not. Raises ModelError if none does."""

    def tried(one: VersionFiles) -> VersionFiles:
        _load(one, settings)
        try:
            Activations(one.explanation).try_out()
        except ModelError as error:
            log.error("Skipped the activations of a version of the model: %s", error)
            return replace(one, explanation=None)
        return one

    return _skip_broken(tried, files)


class Registry:
    """The versions that load, the highest first, which is the default."""

    def __init__(self, files: Sequence[VersionFiles], settings: ModelSettings) -> None:
        """Loads and warms up versions; broken ones are skipped and logged. Raises ModelError if all are broken."""
        loaded = _skip_broken(lambda one: (_load(one, settings), Activations(one.explanation)), files)
        self._served = {recognizer.classifier.version: (recognizer, activations) for recognizer, activations in loaded}

    @property
    def versions(self) -> list[str]:
        """All served versions, the default first."""
        return list(self._served)

    def recognizer(self, version: str | None = None) -> Recognizer:
        """The recognizer of a version or of the default. Raises VersionError."""
        return self._find(version)[0]

    def activations(self, version: str | None = None) -> Activations:
        """The activations of a version or of the default. Raises VersionError."""
        return self._find(version)[1]

    def _find(self, version: str | None) -> tuple[Recognizer, Activations]:
        version = self.versions[0] if version is None else version
        if version not in self._served:
            raise VersionError(f"expected a served version, one of {', '.join(self.versions)}; got {version}")
        return self._served[version]


def _load(files: VersionFiles, settings: ModelSettings) -> Recognizer:
    recognizer = Recognizer.from_settings(settings, files)
    recognizer.warm_up()
    return recognizer


def _skip_broken(load: Callable[[Source], Loaded], sources: Iterable[Source]) -> list[Loaded]:
    """What `load` makes of each source; those that fail are logged. Raises ModelError if all fail."""
    loaded: list[Loaded] = []
    failures: list[ModelError] = []
    for source in sources:
        try:
            loaded.append(load(source))
        except ModelError as error:
            failures.append(error)
    if not loaded:
        raise failures[0]
    for failure in failures:
        log.error("Skipped a version of the model: %s", failure)
    return loaded
