"""Read YAML into the configuration tree; every fault is found at once and named with its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import TRUSTED, CodeRules, code_is_allowed
from neuroloop.config.nearest import did_you_mean
from neuroloop.config.open_settings import UNKNOWN_KEY
from neuroloop.config.schema import known_keys
from neuroloop.config.settings import Settings
from neuroloop.config.source import KIND_KEYS, OF_ANY_LIVE
from neuroloop.config.tree import Config

PRESET_FOLDER = Path(__file__).resolve().parent
_MAX_BYTES = 1 << 20
_MOST_NESTED = 32
_MOST_OVERRIDE = 65_536
_STARTS_WITH_NAME = re.compile(r"[a-z_.0-9]+ must ")
_CONTAINERS = {
    "model_type": "a mapping of settings",
    "model_attributes_type": "a mapping of settings",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
_FAULT_PATH = re.compile(r"([a-z_]+(?:\.\w+)*)(?: \([\w-]+\): ([a-z_]+(?:\.\w+)*))? must ")
"""The path of a setting at the begin of a fault: ``stages.1 (filter): designs.0.freq_hz must ...``."""
_FILE_SETTINGS = (
    ("classifier", "bundle"),
    ("source", "path"),
    ("stimulation", "table_file"),
    ("stimulation", "hard_limits_file"),
    *(("kafka", key) for key in ("password_file", "tls_ca", "tls_certificate", "tls_key", "tls_key_password_file")),
)
_OF_A_RUN = ("provenance.json", "events.jsonl", "summary.json", "signals.xdf")
"""Files any of which makes a folder one of a run."""
_Position = tuple[str | int, ...]
_Settings = TypeVar("_Settings", bound=Settings)


@dataclass(frozen=True)
class _Document:
    """A YAML file as plain values, with the line of every key."""

    label: str
    values: dict[str, Any]
    lines: dict[_Position, int]
    folder: Path


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


def find_preset(name: str) -> Path:
    """Return the file of a preset.

    Raises
    ------
    ConfigError
        If there is none of this name.
    """
    names = preset_names()
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"preset must be one of {', '.join(names)}{hint}, got {name!r}")
    return PRESET_FOLDER / f"{name}.yaml"


def find_config(name_or_path: str) -> Path:
    """Return the file of a preset's name or of a path.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if name_or_path in preset_names():
        return PRESET_FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    presets = ", ".join(preset_names())
    hint = did_you_mean(name_or_path, preset_names())
    raise ConfigError(f"config must be a preset ({presets}) or the path of a YAML file{hint}, got {name_or_path!r}")


def _walk(node: yaml.Node, at: _Position, lines: dict[_Position, int], faults: list[str], label: str) -> None:
    """Note the line of every key and list entry; a repeated key is a fault."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = (*at, key)
            line = key_node.start_mark.line + 1
            if key in seen:
                faults.append(f"{label}:{line}: {_dotted(here)} must be given once, got it again")
            seen.add(key)
            lines[here] = line
            _walk(value_node, here, lines, faults, label)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            here = (*at, index)
            lines[here] = item.start_mark.line + 1
            _walk(item, here, lines, faults, label)


def _dotted(position: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in position)


def _check_shape(text: str, label: str) -> None:
    """Refuse what could unfold to any size, or is nested so deeply that reading it takes for ever."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{label} must be without YAML aliases, got one")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MOST_NESTED:
                raise ConfigError(f"{label} must be nested at most {_MOST_NESTED} deep, got more")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _read(path: Path) -> _Document:
    """Parse one file safely."""
    label = str(path)
    try:
        raw = path.read_bytes()
        if len(raw) > _MAX_BYTES:
            raise ConfigError(f"{label} must be at most {_MAX_BYTES} bytes, got {len(raw)}")
        text = raw.decode("utf-8")
        if path.suffix == ".json":
            text = text.replace("\t", " ")  # JSON has tabs between tokens only, where YAML has none
        _check_shape(text, label)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{label} must be a readable file, got {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{label} must be UTF-8 text, got byte {error.object[error.start]:#x}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{label}:{line}: file must be valid YAML, got: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{label}: file must be valid YAML, got: {first}") from error
    if not isinstance(values, dict) or node is None:
        raise ConfigError(f"{label}:1: file must be a mapping of settings, got {type(values).__name__}")
    lines: dict[_Position, int] = {}
    faults: list[str] = []
    _walk(node, (), lines, faults, label)
    if faults:
        raise ConfigError(*faults)
    return _Document(label, values, lines, path.resolve().parent)


def _value_of(key: str, text: str) -> Any:
    """Read the value of one override, by the same rules as a file."""
    label = f"--set {key}"
    if len(text) > _MOST_OVERRIDE:
        raise ConfigError(f"{label} must have at most {_MOST_OVERRIDE} characters, got {len(text)}")
    try:
        _check_shape(text, label)
        return yaml.safe_load(text)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{label} must have a YAML value, got {text[:80]!r}") from error


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[_Position, str]:
    """Put ``a.b=c`` settings into nested values, in place; list entries are named by number.

    Returns
    -------
    dict
        The text of the override by position, to name it in messages.

    Raises
    ------
    ConfigError
        If one is not of that form or names a place that cannot exist.
    """
    origin: dict[_Position, str] = {}
    for override in overrides:
        key, found, text = override.partition("=")
        parts = key.strip().split(".")
        if not found or not all(parts):
            raise ConfigError(f"--set must be KEY=VALUE with a dotted key, got {override!r}")
        value = _value_of(key, text)
        position: list[str | int] = []
        here: Any = values
        for depth, part in enumerate(parts):
            step: str | int = part
            last = depth == len(parts) - 1
            if isinstance(here, list):
                if not (part.isdecimal() and part.isascii() and len(part) < 9 and int(part) < len(here)):
                    rule = f"an index below {len(here)} in {_dotted(position)}"
                    raise ConfigError(f"--set {key} must name {rule}, got {part!r}")
                step = int(part)
            elif not isinstance(here, dict):
                raise ConfigError(f"--set {key} must name a setting, got {_dotted(position)!r}, which is a value")
            position.append(step)
            if last:
                here[step] = value
            else:
                if isinstance(here, dict) and here.get(part) is None:
                    here[part] = {}
                here = here[step]
        origin[tuple(position)] = f"--set {override}"
    return origin


def _true_position(loc: Sequence[str | int], values: Any, *, absent: bool) -> _Position:
    """Drop what pydantic adds to a location (the tags of unions), keep what stands in the file or is absent there."""
    position: list[str | int] = []
    here = values
    for index, part in enumerate(loc):
        known = (isinstance(here, Mapping) and part in here) or (
            isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here)
        )
        if known:
            position.append(part)
            here = here[part]
        elif absent and index == len(loc) - 1:
            position.append(part)
    return tuple(position)


def _sentence(error: Mapping[str, Any], name: str, model: type[Settings]) -> str:
    """Say one of pydantic's findings about settings of this class in the project's form."""
    kind, message, value = error["type"], str(error["msg"]), error.get("input")
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    if kind == "missing":
        return f"{name} must be given, got nothing"
    if kind == "extra_forbidden":
        *around, key = error["loc"]
        return f"{name} must be a known setting{did_you_mean(str(key), known_keys(model, around))}, got an unknown key"
    if kind == UNKNOWN_KEY:
        return f"{name} {message}"
    if kind == "value_error":
        text = message.removeprefix("Value error, ")
        if text.startswith("must "):
            return f"{name} {text}"
        joint = "." if _STARTS_WITH_NAME.match(text) else ": "
        return f"{name}{joint}{text}" if name else text
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        expected = str(error.get("ctx", {}).get("expected_tags", "")).replace("'", "")
        tag = error.get("ctx", {}).get("tag", "nothing")
        rule = f"one of {expected}" if expected else "given"
        return f"{name}.kind must be {rule}, got {tag!r}"
    if kind in _CONTAINERS:
        return f"{name} must be {_CONTAINERS[kind]}, got {shown}"
    rule = message.removeprefix("Input should be ").removeprefix("Input should ")
    rule = rule if message.startswith("Input should be") else rule[:1].lower() + rule[1:]
    verb = "must be" if message.startswith("Input should be") else "must"
    if not message.startswith("Input should"):
        verb, rule = "must be valid", f"({rule})"
    return f"{name} {verb} {rule}, got {shown}"


def _place(position: _Position, label: str, lines: Mapping[_Position, int], origin: Mapping[_Position, str]) -> str:
    """Return where a setting was given: the override, or the file and line of the nearest key around it."""
    for depth in range(len(position), 0, -1):
        here = position[:depth]
        if here in origin:
            return f"{origin[here]}: "
        if here in lines:
            return f"{label}:{lines[here]}: "
    return f"{label}: " if label else ""


def parse(
    values: dict[str, Any],
    *,
    label: str = "",
    lines: Mapping[_Position, int] | None = None,
    origin: Mapping[_Position, str] | None = None,
    code: CodeRules = TRUSTED,
) -> Config:
    """Check plain values and return the tree.

    Values that somebody else has written (a request, a file that the user did not name) need other rules for ``code``:
    as it is, kinds of the form ``package.module:Class`` are imported.

    Raises
    ------
    ConfigError
        With every fault, each with its place.
    """
    return _validate(Config, values, label=label, lines=lines or {}, origin=origin or {}, code=code)


def load_settings(path: Path, model: type[_Settings]) -> _Settings:
    """Read a YAML or JSON file of settings that is not the tree itself, such as a table of recommendations.

    Raises
    ------
    ConfigError
        With every fault, each with its file and line.
    """
    document = _read(path)
    return _validate(model, document.values, label=document.label, lines=document.lines, origin={})


def _validate(
    model: type[_Settings],
    values: dict[str, Any],
    *,
    label: str,
    lines: Mapping[_Position, int],
    origin: Mapping[_Position, str],
    code: CodeRules | None = None,
) -> _Settings:
    """Check plain values; every fault is named with its place."""
    try:
        return model.model_validate(values, context=(code or CodeRules()).as_context())
    except ValidationError as error:
        findings = [
            (_true_position(finding["loc"], values, absent=finding["type"] == "missing"), finding)
            for finding in error.errors(include_url=False)
        ]
        faults = []
        for position, finding in findings:
            inside = any(other[: len(position)] == position and other != position for other, _ in findings)
            if finding["type"] == "too_short" and inside:
                continue  # its entries are at fault, each named by itself
            place = _place(position, label, lines, origin)
            faults.append(place + _sentence(finding, _dotted(position), model))
        raise ConfigError(*faults) from error


def _drop_other_kinds(values: dict[str, Any], origin: Mapping[_Position, str]) -> None:
    """Where ``--set`` chooses another kind of source, leave out what the file says of the kind it replaces."""
    source = values.get("source")
    if ("source", "kind") not in origin or not isinstance(source, dict):
        return
    kept = KIND_KEYS.get(str(source.get("kind")), OF_ANY_LIVE)
    for key in frozenset[str]().union(*KIND_KEYS.values()) - kept:
        if not any(position[:2] == ("source", key) for position in origin):
            source.pop(key, None)


@dataclass(frozen=True)
class Places:
    """Where every setting of a configuration was given."""

    label: str
    lines: Mapping[_Position, int]
    origin: Mapping[_Position, str]

    def locate(self, fault: str) -> str:
        """Put the file and line, or the override, before a fault that begins with the path of a given setting."""
        match = _FAULT_PATH.match(fault)
        if match is None:
            return fault
        path = ".".join(part for part in match.groups() if part)
        position = tuple(int(part) if part.isdigit() else part for part in path.split("."))
        if not any(position[:1] == given[:1] for given in (*self.lines, *self.origin)):
            return fault
        return _place(position, self.label, self.lines, self.origin) + fault


def _find_baselines(document: _Document) -> None:
    """Take a monitor's relative baseline file from the configuration's own folder where it exists there."""
    monitors = document.values.get("drift")
    for monitor in monitors if isinstance(monitors, list) else []:
        block = monitor.get("baseline") if isinstance(monitor, dict) else None
        if isinstance(block, dict) and isinstance(block.get("path"), str):
            beside = document.folder / block["path"]
            if not Path(block["path"]).is_absolute() and beside.exists():
                block["path"] = str(beside)


def load_config(name_or_path: str, overrides: Sequence[str] = (), *, allow_code: bool | None = None) -> Config:
    """Load a preset or a file; as `load_with_places`, which says the rest."""
    return load_with_places(name_or_path, overrides, allow_code=allow_code)[0]


def read_without_code(path: str) -> Config:
    """Load the configuration of a run for what it says; stages of somebody's own stay as they were written.

    Such a configuration cannot be built.
    """
    document = _read(Path(path))
    code = CodeRules(unread=True)
    return parse(document.values, label=document.label, lines=document.lines, code=code)


def _code_rules(document: _Document, allow_code: bool | None) -> CodeRules:
    """Say whether a file may name code: one of the user's own may, one that a run has left behind may not."""
    if allow_code is None:
        allow_code = code_is_allowed() or not any((document.folder / name).exists() for name in _OF_A_RUN)
    return CodeRules(allow_code, document.folder)


def load_with_places(
    name_or_path: str, overrides: Sequence[str] = (), *, allow_code: bool | None = None
) -> tuple[Config, Places]:
    """Load a preset or a file, apply ``--set`` overrides, check everything.

    A relative path inside the file (``classifier.bundle``, ``source.path``, ``drift.N.baseline.path``, the files of
    ``stimulation`` and ``kafka``) is taken from the file's own folder where it exists there, otherwise from the working
    folder.

    Parameters
    ----------
    name_or_path : str
    overrides : sequence of str
    allow_code : bool, optional
        Whether a kind may be ``package.module:Class``, found on `sys.path` or in the file's own folder. Unless given,
        it may in a file that the user names, but not in the folder of a run, where somebody else may have put it.

    Raises
    ------
    ConfigError
        With every fault, each with its file and line.
    """
    document = _read(find_config(name_or_path))
    for section, key in _FILE_SETTINGS:
        block = document.values.get(section)
        if isinstance(block, dict) and isinstance(block.get(key), str):
            beside = document.folder / block[key]
            if not Path(block[key]).is_absolute() and document.folder != PRESET_FOLDER and beside.exists():
                block[key] = str(beside)
    _find_baselines(document)
    origin = apply_overrides(document.values, overrides)
    _drop_other_kinds(document.values, origin)
    code = _code_rules(document, allow_code)
    config = parse(document.values, label=document.label, lines=document.lines, origin=origin, code=code)
    return config, Places(document.label, document.lines, origin)


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back to an equal tree."""
    plain = json.loads(config.model_dump_json(exclude_none=True, exclude_defaults=False))
    plain["source"] = {
        key: value
        for key, value in plain.get("source", {}).items()
        if key in config.source.model_fields_set
        or key in ("kind", "timing", "gap_tolerance_s", "fill", "reset_after_s")
    }
    if config.decision is not None:
        given = config.decision.model_fields_set
        plain["decision"] = {key: value for key, value in plain["decision"].items() if key in given}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
