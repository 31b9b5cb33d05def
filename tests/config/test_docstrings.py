"""Docstrings under the fields of settings classes."""

from neuroloop.config.docstrings import docstrings_of
from neuroloop.config.settings import Settings


class Base(Settings):
    """A class that others inherit from."""

    silent: int = 0
    first: int = 0
    """Of the first.

    In two paragraphs.
    """
    second: int = 0
    """Of the second."""
    third: int = 0
    """Of the third."""


class Derived(Base):
    """A class that inherits, changes and takes back."""

    second: int = 1
    """Anew."""
    third: int = 1


def test_every_docstring_stands_under_its_field() -> None:
    assert docstrings_of(Base) == {
        "first": "Of the first.\n\nIn two paragraphs.",
        "second": "Of the second.",
        "third": "Of the third.",
    }


def test_inherited_fields_keep_theirs_and_a_field_that_is_defined_anew_does_not() -> None:
    assert docstrings_of(Derived) == {"first": "Of the first.\n\nIn two paragraphs.", "second": "Anew."}


def test_without_source_nothing_is_said() -> None:
    made = type("Made", (Settings,), {"__module__": "no_such_module", "__annotations__": {"a": int}})
    assert docstrings_of(made) == {}
