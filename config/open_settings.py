"""Settings of what somebody else has written: made of the class that he declares and the base that all of a sort have.

A section whose ``kind`` is not built in is validated by the settings class of the class that the kind stands for. Its
faults are told as ours are, and what was probably meant is looked for among its own keys.
"""

from __future__ import annotations

from collections.abc import Callable
from types import new_class
from typing import Any, TypeVar

from pydantic import (
    GetJsonSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import TRUSTED, CodeRules, Kinds
from neuroloop.config.nearest import did_you_mean
from neuroloop.config.settings import Settings

UNKNOWN_KEY = "own_key_unknown"
"""Type of the finding of an unknown key in settings that are not built in; its text is whole."""
_SETTINGS_ATTRIBUTES = ("Settings", "settings_type")
_DERIVED: dict[tuple[type[Settings], type[Settings]], type[Settings]] = {}
_Base = TypeVar("_Base", bound=Settings)


def declared_settings(made: type[Any], kind: str, base: type[Settings]) -> type[Settings]:
    """Return the settings class that a class declares as ``Settings`` or ``settings_type``, with a base's fields.

    A class without any has those of the base alone.

    Raises
    ------
    ConfigError
        If what it declares is no settings class.
    """
    declared = next((getattr(made, name) for name in _SETTINGS_ATTRIBUTES if hasattr(made, name)), base)
    if not (isinstance(declared, type) and issubclass(declared, Settings)):
        raise ConfigError(f"kind must name a class whose Settings are a subclass of config.Settings, got {kind!r}")
    return derived(declared, base)


def derived(declared: type[Settings], base: type[Settings]) -> type[Settings]:
    """Return a settings class with the fields of a base, which it may have already."""
    needed = {name for name, field in base.model_fields.items() if field.is_required()}
    if issubclass(declared, base) or (needed and needed <= set(declared.model_fields)):
        return declared
    if (declared, base) not in _DERIVED:
        own = {"__module__": declared.__module__, "__reduce__": _reduced}  # no module holds a class made here
        _DERIVED[declared, base] = new_class(declared.__name__, (declared, base), {}, lambda body: body.update(own))
    return _DERIVED[declared, base]


def _reduced(self: Settings) -> tuple[Any, ...]:
    """Say how settings of a made class are sent to another process."""
    declared, base = type(self).__bases__
    return _restored, (declared, base, self.model_dump(exclude_unset=True))


def _restored(declared: type[Settings], base: type[Settings], values: dict[str, Any]) -> Settings:
    """Make settings of a derived class again, in the process that they were sent to."""
    return derived(declared, base).model_validate(values)


def name_from_kind(model: type[Settings], values: Any) -> Any:
    """Fill in a name that is left out and has no default: that of the class, in small letters."""
    has_default = not model.model_fields["name"].is_required()
    if has_default or not isinstance(values, dict) or "name" in values or not isinstance(values.get("kind"), str):
        return values
    return {**values, "name": values["kind"].rpartition(":")[2].rpartition(".")[2].lower()}


def validated(model: type[_Base], value: Any, context: Any, *, hidden: frozenset[str] = frozenset()) -> _Base:
    """Validate values by a class that is not built in; an unknown key is compared with that class's own.

    Parameters
    ----------
    model : type of Settings
    value
    context
        Of the validation that this is part of.
    hidden : frozenset of str
        Fields that are not offered.
    """
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        found = error.errors(include_url=False)
        if not any(one["type"] == "extra_forbidden" for one in found):
            raise
        known = [name for name in model.model_fields if name not in hidden]
        details = [
            InitErrorDetails(type=_finding(dict(one), known), loc=one["loc"], input=one["input"]) for one in found
        ]
        raise ValidationError.from_exception_data(model.__name__, details) from error


def _finding(one: dict[str, Any], known: list[str]) -> PydanticCustomError:
    """Return a finding that keeps what it says; only an unknown key is said anew."""
    if one["type"] == "extra_forbidden":
        hint = did_you_mean(str(one["loc"][-1]), known) if len(one["loc"]) == 1 else ""
        text = f"must be a known setting{hint}, got an unknown key"
        return PydanticCustomError(UNKNOWN_KEY, "{text}", {"text": text})
    return PydanticCustomError(one["type"], "{text}", {**one.get("ctx", {}), "text": one["msg"]})


class OpenKinds(Kinds):
    """Kinds whose settings are a section of the configuration.

    Parameters
    ----------
    noun, group, builtin
        As `neuroloop.config.kinds.Kinds` takes them.
    base : type of Settings
        What the settings of all that is not built in have; they are its instances.
    unread : type of Settings
        Keeps settings whose code is not asked.
    hidden : frozenset of str
        Fields of the base that belong to what is built in.
    """

    def __init__(
        self,
        noun: str,
        group: str,
        builtin: tuple[str, ...],
        *,
        base: type[Settings],
        unread: type[Settings],
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(noun, group, builtin)
        self._base, self._unread, self._hidden = base, unread, hidden

    def open(self, value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        """Validate a section: by its own class where its kind is not built in, as ever otherwise."""
        if isinstance(value, self._unread):
            return value
        if isinstance(value, self._base):
            given = str(getattr(value, "kind", ""))
            wanted = declared_settings(self.resolve(given, TRUSTED), given, self._base)
            if not isinstance(value, wanted):
                raise ValueError(f"settings must be {wanted.__name__} for kind {given!r}, got {type(value).__name__}")
            return value
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in self.builtin:
            return handler(value)
        rules = CodeRules.of(info.context)
        if rules.unread:
            return self._unread.model_validate(value)
        model = declared_settings(self.resolve(kind, rules), kind, self._base)
        return validated(model, value, info.context, hidden=self._hidden - own_fields(model, self._base))

    def class_of(self, settings: Settings) -> type[Any] | None:
        """Return the class that settings are of; ``None`` for what is built in.

        Settings were checked when they were made: who may name code was settled there.

        Raises
        ------
        ConfigError
            If their code was not asked.
        """
        if isinstance(settings, self._unread):
            raise self.closed(str(getattr(settings, "kind", "")))
        if not isinstance(settings, self._base):
            return None
        return self.resolve(str(getattr(settings, "kind", "")), TRUSTED)


def own_fields(model: type[Settings], base: type[Settings]) -> frozenset[str]:
    """Return the fields that a settings class adds to its base, or says anew."""
    added = (one for one in model.__mro__ if one not in base.__mro__)
    return frozenset(name for one in added for name in vars(one).get("__annotations__", {}))


def write_own(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    """Write settings by their own class: what they were declared as may have fewer fields."""
    if not isinstance(value, Settings):
        return handler(value)
    return value.model_dump(
        mode=info.mode,
        exclude_none=bool(info.exclude_none),
        exclude_defaults=bool(info.exclude_defaults),
        exclude_unset=bool(info.exclude_unset),
    )


class OpenSchema:
    """Shows editors what is built in in full, and a section that names code as a mapping.

    Parameters
    ----------
    named : str
        What its ``name`` is, where it has one.
    """

    def __init__(self, named: str = "") -> None:
        self._named = named

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        known = handler(core)
        kind = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$", "description": "Such as ``package.module:Class``."}
        properties = {"kind": kind}
        if self._named:
            properties["name"] = {"type": "string", "description": self._named}
        own = {"type": "object", "properties": properties, "required": ["kind"]}
        return {"anyOf": [known, own]}
