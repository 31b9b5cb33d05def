"""Where bundles lie, and whether one agrees with the configuration that names it."""

from __future__ import annotations

from pathlib import Path

from neuroloop.config.decision import Decision, DecisionSettings
from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import Config
from neuroloop.models.bundle import Bundle, load_bundle

SHIPPED_BUNDLES = Path(__file__).resolve().parents[2] / "models" / "bundles"


def find_bundle(name_or_path: str) -> Path:
    """Return the folder of a shipped bundle's name or of a path."""
    shipped = SHIPPED_BUNDLES / name_or_path
    if "/" not in name_or_path and shipped.is_dir():
        return shipped
    return Path(name_or_path)


def load_classifier(config: Config) -> Bundle | None:
    """Load the bundle that the configuration names and check that the two agree.

    Raises
    ------
    ConfigError
        If the configuration needs a bundle and names none, or repeats one of its settings differently.
    BundleError
        If the bundle is missing or altered.
    """
    if config.classifier is None:
        return None
    if config.classifier.bundle is None:
        rule = (
            "the folder of a trained bundle (make one with 'neuroloop train', name it with --set classifier.bundle=...)"
        )
        raise ConfigError(f"classifier.bundle must be {rule}, got nothing")
    bundle = load_bundle(find_bundle(config.classifier.bundle))
    settings = bundle.settings
    faults = []
    for key in ("window_samples", "hop_samples"):
        wanted = getattr(config.classifier, key)
        owned = getattr(settings, key)
        if wanted is not None and wanted != owned:
            faults.append(f"classifier.{key} must agree with the bundle ({owned}), got {wanted!r}")
    if config.stages and config.stages != settings.stages:
        faults.append("stages must agree with the bundle's own preprocessing or be left out, got other stages")
    if isinstance(config.decision, DecisionSettings):
        for key in sorted(config.decision.model_fields_set):
            wanted, owned = getattr(config.decision, key), getattr(settings.decision, key, None)
            if wanted != owned:
                rule = f"decision.{key} must agree with the bundle's own ({owned}) or be left out"
                faults.append(f"{rule}, got {wanted!r}")
    if faults:
        raise ConfigError(*faults)
    return bundle


def decision_of(config: Config, bundle: Bundle) -> Decision:
    """Return the settings of the policy behind a bundle: its own, or a policy that the configuration brings along."""
    if config.decision is None or isinstance(config.decision, DecisionSettings):
        return bundle.settings.decision
    return config.decision


def bundle_folder(config: Config) -> Path | None:
    """Return the folder of the configured bundle."""
    named = config.classifier is not None and config.classifier.bundle is not None
    return find_bundle(str(config.classifier.bundle)) if named and config.classifier is not None else None
