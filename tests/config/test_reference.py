"""The reference of all keys: complete, true, and the page that is made of it."""

import json
import re

import pytest
import yaml

from neuroloop.config import bundle, drift, kafka, live, sinks, source, stages, stimulation, training, tree, worker
from neuroloop.config.decision import DecisionSettings
from neuroloop.config.errors import ConfigError
from neuroloop.config.reference import Section, example_of, examples_of, find_keys, sections
from neuroloop.config.reference_pages import explain, markdown
from neuroloop.config.settings import Settings
from tests.conftest import CHECKOUT

_MODULES = (bundle, drift, kafka, live, sinks, source, stages, stimulation, training, tree, worker)


def class_of(section: Section) -> type[Settings]:
    found = next((getattr(module, section.of) for module in _MODULES if hasattr(module, section.of)), DecisionSettings)
    assert found.__name__ == section.of
    return found


def test_the_page_is_what_the_settings_classes_say() -> None:
    page = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: neuroloop schema --markdown > docs/configuration.md"


def test_every_key_of_the_tree_is_on_the_page() -> None:
    page = markdown()
    for key, field in tree.Config.model_fields.items():
        assert f"| `{key}` | " in page, field
    assert "### stages.filter.designs.notch" in page
    assert "| `hop_s` | Distance between window starts" in page


def test_links_within_the_page_lead_to_headings() -> None:
    page = markdown()
    anchors = {line.lstrip("# ").lower().replace(".", "").replace(" ", "-") for line in re.findall("(?m)^#.*$", page)}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors


@pytest.mark.parametrize("section", sections(), ids=lambda one: one.name or "top")
def test_examples_of_a_section_are_valid_and_together_show_every_key(section: Section) -> None:
    shown = examples_of(section)
    assert shown
    for values in shown:
        class_of(section).model_validate(values)
    held = {step for one in sections() for step in _child(section, one)}
    for key in section.keys:
        if key.name not in held:
            text = example_of(section, key)
            assert text, f"{section.name}.{key.name} needs an example in config/examples/sections.yaml"
            yaml.safe_load(text)


def _child(section: Section, other: Section) -> list[str]:
    is_child = len(other.steps) == len(section.steps) + 1 and other.steps[: len(section.steps)] == section.steps
    return [other.steps[-1][0]] if is_child else []


def test_defaults_are_those_of_the_classes() -> None:
    for section in sections():
        for key in section.keys:
            field = class_of(section).model_fields[key.name]
            if key.default == "required":
                assert field.is_required()
            elif key.default == "nothing":
                assert field.default is None
            elif key.default:
                default = field.get_default(call_default_factory=True, validated_data={})
                assert yaml.safe_load(key.default) == json.loads(json.dumps(default)), f"{section.name}.{key.name}"


def test_an_explanation_has_meaning_value_unit_default_and_an_example() -> None:
    assert explain("stimulation.gate.arming_s").splitlines() == [
        "stimulation.gate.arming_s",
        "  Arming expires after so long unless it is renewed.",
        "  value: number above 0",
        "  unit: s",
        "  default: 600.0",
        "  example:",
        "    stimulation:",
        "      gate: {arming_s: 600}",
    ]


def test_a_key_is_found_by_its_kind_by_its_number_or_without_both() -> None:
    assert [section.name for section, _ in find_keys("stages.bandpower.hop_s")] == ["stages.bandpower"]
    assert {section.name for section, _ in find_keys("stages.2.hop_s")} == {
        "stages.window",
        "stages.bandpower",
        "stages.logvar",
    }
    assert [section.name for section, key in find_keys("kafka.topics") if key is None] == ["kafka.topics"]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("arming_s", "stimulation.gate.arming_s"),
        ("stages.bandpower.hops", "stages.bandpower.hop_s"),
        ("source.timin", "source.timing"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(
        ConfigError, match=re.escape(f"key must be a known setting (did you mean {nearest!r}?), got {key!r}")
    ):
        find_keys(key)


def test_units_follow_from_the_end_of_the_name() -> None:
    units = {(section.name, key.name): key.unit for section in sections() for key in section.keys}
    assert units["kafka.topics", "retention_h"] == "h"
    assert units["stimulation.limits", "max_charge_density_uc_cm2"] == "µC/cm²"
    assert units["stimulation.limits", "max_starts_per_h"] == "per hour"
    assert units["stimulation.limits", "max_slew_ma_s"] == "mA/s"
    assert units["source.simulator", "sfreq"] == "Hz"
    assert units["stages.window", "hop_samples"] == "rows"
    assert units["source", "name"] == ""
