"""The versions of the model that are served, each with its layers."""

import logging
from collections.abc import Sequence
from pathlib import Path

from service.classifier import Classifier, ModelError
from service.layers import Layers
from service.settings import Settings

log = logging.getLogger(__name__)


class VersionError(Exception):
    """The version asked for is not served; the message may be shown to the sender."""


class Models:
    """Every version that loads, by its number as text, the highest first, which is the default."""

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self._classifiers = {one.version: one for one in classifiers}
        self._layers = {one.version: Layers(one.path) for one in classifiers}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Models":
        """Loads every version and warms it up; one that cannot be loaded is skipped and logged.

        Raises ModelError where none can, and SettingsError where there is none.
        """
        classifiers: list[Classifier] = []
        failures: list[ModelError] = []
        for path in settings.model_paths:
            try:
                classifiers.append(_warm(path, settings))
            except ModelError as error:
                failures.append(error)
        if not classifiers:
            raise failures[0]
        for failure in failures:
            log.error("Skipped a version of the model: %s", failure)
        return cls(classifiers)

    @property
    def versions(self) -> list[str]:
        """All that are served, the default first."""
        return list(self._classifiers)

    def classifier(self, version: str | None = None) -> Classifier:
        """The classifier of a version, of the default unless given. Raises VersionError."""
        return self._classifiers[self._known(version)]

    def layers(self, version: str | None = None) -> Layers:
        """The layers of a version, of the default unless given. Raises VersionError."""
        return self._layers[self._known(version)]

    def _known(self, version: str | None) -> str:
        version = self.versions[0] if version is None else version
        if version not in self._classifiers:
            raise VersionError(f"expected a version that is served, one of {', '.join(self.versions)}; got {version}")
        return version


def _warm(path: Path, settings: Settings) -> Classifier:
    classifier = Classifier(path, settings.provider, settings.minimum_is_digit, settings.minimum_confidence)
    classifier.warm_up()
    return classifier
