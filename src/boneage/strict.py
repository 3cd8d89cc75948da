"""A strict reader of structured files: plain values become typed dataclasses, or an error names the place of a fault.

Manifests (JSON), recipes and plans (TOML) and the tables and descriptions of atlases (CSV, JSON) are read by `read`,
from the type hints of the dataclasses that hold them. Unknown keys, missing keys, wrong types, numbers that are not
finite and values out of range raise `InvalidValueError`. The place is a path such as ``members[2].view.height``.

Ranges and patterns are annotations of a field (`Bounds`, `Matching`, `Length`, `EveryKey`). A rule that concerns
several fields is a method ``faults`` of the dataclass. It yields pairs of a place, relative to the dataclass, and a
reason.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

LARGEST_NUMBER = 1e12
"""Largest magnitude of a floating-point number; a larger one is a slip of the pen in every file that is read here."""

_SHOWN_CHARACTERS = 60
_WHOLE = "the value as a whole"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Reader = Callable[[Any], Any]
T = typing.TypeVar("T")


class InvalidValueError(ValueError):
    """A value that does not fit its type or range.

    Attributes:
        place: path of the value from the root, such as ``members[2].view.height``; empty for the root itself.
        reason: predicate of a sentence whose subject is the place.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place or _WHOLE} {reason}")
        self.place, self.reason = place, reason

    def inside(self, segment: str) -> InvalidValueError:
        """Return the same error with its place seen from one level further out."""
        return InvalidValueError(_joined(segment, self.place), self.reason)


# --- annotations of fields ---


@dataclass(frozen=True)
class Bounds:
    """The range of a number; None leaves an end open."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def fault(self, value: float) -> str | None:
        """Return why a number lies outside the range, or None."""
        if self.at_least is not None and not value >= self.at_least:
            return f"must be at least {self.at_least:g}, not {value!r}"
        if self.at_most is not None and not value <= self.at_most:
            return f"must be at most {self.at_most:g}, not {value!r}"
        if self.above is not None and not value > self.above:
            return f"must be above {self.above:g}, not {value!r}"
        if self.below is not None and not value < self.below:
            return f"must be below {self.below:g}, not {value!r}"
        return None


@dataclass(frozen=True)
class Matching:
    """The form of a text: a pattern that the whole of it matches, and a description of that form for people."""

    pattern: re.Pattern[str]
    description: str

    def fault(self, value: str) -> str | None:
        """Return why a text does not have the form, or None."""
        return None if self.pattern.fullmatch(value) else f"must be {self.description}, not {_shown(value)}"


@dataclass(frozen=True)
class Length:
    """The smallest length of a text, list or mapping."""

    at_least: int = 1

    def fault(self, value: typing.Sized) -> str | None:
        """Return why a value is too short, or None."""
        if len(value) >= self.at_least:
            return None
        return "must not be empty" if self.at_least == 1 else f"must have at least {self.at_least} entries"


Share = Annotated[float, Bounds(at_least=0, at_most=1)]
"""Number from 0 to 1, both included."""

Positive = Annotated[float, Bounds(above=0)]
"""Number above 0."""

NotNegative = Annotated[float, Bounds(at_least=0)]
"""Number of at least 0."""

Count = Annotated[int, Bounds(at_least=0)]
"""Whole number of at least 0."""

NotEmpty = Annotated[str, Length(1)]
"""Text of at least one character."""


class EveryKey:
    """The rule that a mapping has each key that its key type allows: each member of an enumeration or literal."""


@dataclass(frozen=True)
class Fits:
    """The rule that a mapping is read as a `TypedDict`, though its attribute has a wider type.

    Attributes:
        kind: the `TypedDict`.
        may_be_empty: an empty mapping is accepted although keys are missing.
    """

    kind: type
    may_be_empty: bool = False


# --- reading and writing ---


def read(kind: type[T], value: Any, *, complete: bool = False, text: bool = False) -> T:
    """Read plain values as a dataclass.

    Args:
        kind: the dataclass. Its fields have the types bool, int, float, str, date, None, an enumeration, a literal, Any
            (plain JSON values), a dataclass, a tuple or mapping of these, or one of several of these.
        value: dictionaries, lists, texts, numbers, truth values and None, as JSON and TOML give them.
        complete: every field must be there, also those with a default.
        text: numbers are written as text, as in the cells of a CSV table, and an empty text stands for None.

    Raises:
        InvalidValueError: at the first value that does not fit.
    """
    try:
        return typing.cast("T", _reader(typing.cast("Any", kind), complete, text)(value))
    except RecursionError as error:
        raise InvalidValueError("", "is nested too deeply") from error


def to_plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return dataclasses, mappings, sequences and enumerations as the dictionaries, lists and values of JSON.

    Dates, moments and UUIDs become texts (ISO 8601, RFC 9562).

    Raises:
        InvalidValueError: something else is among them, or a number that is not finite.
    """
    if _is_plain(value):
        return value
    kind: Any = type(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _at(name, to_plain, getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return _plain_record(value)
    if isinstance(value, list | tuple):
        if all(map(_is_plain, value)):
            return list(value)
        return [_at(f"[{number}]", to_plain, item) for number, item in enumerate(value)]
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else _scalar(value)


def _is_plain(value: Any) -> bool:
    """Return True for the kinds of value that nearly all values of a long record have, so that it is written fast."""
    return type(value) in _PLAIN_TYPES or (type(value) is float and math.isfinite(value))


def parse_json(data: bytes) -> Any:
    """Parse UTF-8 JSON in which no key of an object occurs twice and every number is finite.

    Raises:
        ValueError: it is not such a text.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


# --- readers by type ---


@cache
def _reader(hint: Any, complete: bool, text: bool) -> Reader:
    """Return the reader of a type hint. It raises `InvalidValueError` with a place relative to the value."""
    if dataclasses.is_dataclass(hint):
        return _dataclass_reader(typing.cast("type[Any]", hint), complete, text)
    if typing.is_typeddict(hint):
        return _typed_dict_reader(hint, complete, text)
    if hint is Any:
        return _plain
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enumeration_reader(hint)
    if hint in _SCALARS:
        return (_TEXT_SCALARS if text else _SCALARS)[hint]
    return _generic_reader(hint, complete, text)


def _generic_reader(hint: Any, complete: bool, text: bool) -> Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated_reader(arguments[0], arguments[1:], complete, text)
    if origin is Literal:
        return _literal_reader(arguments)
    if origin in (typing.Union, types.UnionType):
        inner = [_reader(one, complete, text) for one in arguments if one is not types.NoneType]
        reader = inner[0] if len(inner) == 1 else _alternatives_reader(inner)
        return _optional_reader(reader, text) if types.NoneType in arguments else reader
    if origin is tuple:
        return _tuple_reader(arguments, complete, text)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(_reader(arguments[0], complete, text), _reader(arguments[1], complete, text))
    raise TypeError(f"the strict reader has no rule for the type {hint!r}")


def _dataclass_reader(kind: type[Any], complete: bool, text: bool) -> Reader:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = [one for one in dataclasses.fields(kind) if one.init]
    readers = {one.name: _reader(hints[one.name], complete, text) for one in fields}
    needed = [one.name for one in fields if complete or not _has_default(one)]
    faults = getattr(kind, "faults", None)

    def read_dataclass(value: Any) -> Any:
        built = kind(**_record(value, readers, needed))
        for place, reason in () if faults is None else faults(built):
            raise InvalidValueError(place, reason)
        return built

    return read_dataclass


def _typed_dict_reader(kind: Any, complete: bool, text: bool) -> Reader:
    hints = typing.get_type_hints(kind, include_extras=True)
    readers = {key: _reader(hint, complete, text) for key, hint in hints.items()}
    needed = [key for key in hints if key in kind.__required_keys__]
    return lambda value: _record(value, readers, needed)


def _record(value: Any, readers: Mapping[str, Reader], needed: list[str]) -> dict[str, Any]:
    """Return the values of an object that has all needed keys and no unknown ones."""
    if not isinstance(value, Mapping):
        raise InvalidValueError("", f"must be an object or table, not {_shown(value)}")
    for key in value:
        if key not in readers:
            raise InvalidValueError(_segment(key), f"is unknown; known are {', '.join(readers)}")
    for key in needed:
        if key not in value:
            raise InvalidValueError(key, "is missing")
    return {key: _at(_segment(key), readers[key], item) for key, item in value.items()}


def _has_default(one: dataclasses.Field[Any]) -> bool:
    return one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING


def _annotated_reader(inner: Any, rules: tuple[Any, ...], complete: bool, text: bool) -> Reader:
    reader = _reader(inner, complete, text)
    for rule in rules:
        if isinstance(rule, Fits):
            reader = _fitting_reader(rule, complete, text)
        elif rule is EveryKey or isinstance(rule, EveryKey):
            reader = _every_key_reader(reader, typing.get_args(inner)[0])
        else:
            reader = _checked_reader(reader, rule)
    return reader


def _checked_reader(reader: Reader, rule: Bounds | Matching | Length) -> Reader:
    def read_checked(value: Any) -> Any:
        built = reader(value)
        fault = rule.fault(built)
        if fault is not None:
            raise InvalidValueError("", fault)
        return built

    return read_checked


def _fitting_reader(rule: Fits, complete: bool, text: bool) -> Reader:
    reader = _reader(rule.kind, complete, text)
    return lambda value: {} if rule.may_be_empty and value == {} else reader(value)


def _every_key_reader(reader: Reader, key_hint: Any) -> Reader:
    keys = list(key_hint) if isinstance(key_hint, enum.EnumMeta) else list(typing.get_args(key_hint))

    def read_every_key(value: Any) -> Any:
        built = reader(value)
        for key in keys:
            if key not in built:
                raise InvalidValueError(_segment(key), "is missing")
        return {key: built[key] for key in keys}

    return read_every_key


def _enumeration_reader(kind: type[enum.Enum]) -> Reader:
    allowed = {one.value: one for one in kind}

    def read_enumeration(value: Any) -> enum.Enum:
        if not isinstance(value, str) or value not in allowed:
            raise InvalidValueError("", f"must be one of {', '.join(map(repr, allowed))}, not {_shown(value)}")
        return allowed[value]

    return read_enumeration


def _literal_reader(allowed: tuple[Any, ...]) -> Reader:
    def read_literal(value: Any) -> Any:
        for one in allowed:
            if type(value) is type(one) and value == one:
                return one
        raise InvalidValueError("", f"must be one of {', '.join(map(repr, allowed))}, not {_shown(value)}")

    return read_literal


def _optional_reader(reader: Reader, text: bool) -> Reader:
    return lambda value: None if value is None or (text and value == "") else reader(value)


def _alternatives_reader(readers: list[Reader]) -> Reader:
    def read_alternatives(value: Any) -> Any:
        reasons = []
        for reader in readers:
            try:
                return reader(value)
            except InvalidValueError as error:
                reasons.append(str(error) if error.place else error.reason)
        raise InvalidValueError("", ", or ".join(reasons))

    return read_alternatives


def _tuple_reader(arguments: tuple[Any, ...], complete: bool, text: bool) -> Reader:
    open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
    readers = [_reader(one, complete, text) for one in (arguments[:1] if open_ended else arguments)]

    def read_tuple(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise InvalidValueError("", f"must be a list, not {_shown(value)}")
        if not open_ended and len(value) != len(readers):
            raise InvalidValueError("", f"must be a list of {len(readers)} entries, not of {len(value)}")
        each = readers * len(value) if open_ended else readers
        try:
            return tuple(reader(item) for reader, item in zip(each, value, strict=True))
        except InvalidValueError:
            for number, (reader, item) in enumerate(zip(each, value, strict=True)):
                _at(f"[{number}]", reader, item)
            raise

    return read_tuple


def _mapping_reader(key_reader: Reader, value_reader: Reader) -> Reader:
    def read_mapping(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise InvalidValueError("", f"must be an object or table, not {_shown(value)}")
        built = {}
        for key, item in value.items():
            segment = _segment(key)
            read_key = _at(segment, key_reader, key)
            built[read_key] = _at(segment, value_reader, item)
        return built

    return read_mapping


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError("", f"must be true or false, not {_shown(value)}")
    return value


def _read_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValueError("", f"must be a whole number, not {_shown(value)}")
    return value


def _read_float(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidValueError("", f"must be a number, not {_shown(value)}")
    if not abs(value) <= LARGEST_NUMBER:  # this is also true of NaN
        raise InvalidValueError("", f"must be a finite number of at most {LARGEST_NUMBER:g}, not {_shown(value)}")
    return float(value)


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidValueError("", f"must be a text, not {_shown(value)}")
    return value


def _read_null(value: Any) -> None:
    if value is not None:
        raise InvalidValueError("", f"must be null, not {_shown(value)}")


def _read_date(value: Any) -> date:
    try:
        return date.fromisoformat(_read_str(value))
    except (InvalidValueError, ValueError):
        raise InvalidValueError("", f"must be a date such as 2014-03-10, not {_shown(value)}") from None


def _parse_int(value: Any) -> int:
    try:
        return int(_read_str(value))
    except (InvalidValueError, ValueError):
        raise InvalidValueError("", f"must be a whole number, not {_shown(value)}") from None


def _parse_float(value: Any) -> float:
    try:
        number = float(_read_str(value))
    except (InvalidValueError, ValueError):
        raise InvalidValueError("", f"must be a number, not {_shown(value)}") from None
    return _read_float(number)


_PLAIN_TYPES = frozenset({str, int, bool, type(None)})
"""Types whose values are plain JSON values whatever they are."""

_SCALARS: dict[Any, Reader] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_str,
    date: _read_date,
    types.NoneType: _read_null,
}
_TEXT_SCALARS: dict[Any, Reader] = {**_SCALARS, int: _parse_int, float: _parse_float}


def _plain(value: Any) -> Any:
    """Return a plain JSON value of any depth, unchanged but for tuples, which become lists."""
    if isinstance(value, list | tuple):
        return [_at(f"[{number}]", _plain, item) for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_plain_key(key): _at(_segment(key), _plain, item) for key, item in value.items()}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidValueError("", f"must be a text, finite number, truth value, list or object, not {_shown(value)}")


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(one.name for one in dataclasses.fields(kind))


def _plain_record(record: Mapping[Any, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in record.items():
        name = _plain_key(key)
        try:
            plain[name] = to_plain(item)
        except InvalidValueError as error:
            raise error.inside(_segment(key)) from None
    return plain


def _plain_key(key: Any) -> str:
    text = key.value if isinstance(key, enum.Enum) else key
    if not isinstance(text, str):
        raise InvalidValueError(_segment(key), "must have a text as its key")
    return text


# --- places ---


def _at(segment: str, reader: Reader, value: Any) -> Any:
    """Read a value inside another, and name its place if it does not fit."""
    try:
        return reader(value)
    except InvalidValueError as error:
        raise error.inside(segment) from None


def _segment(key: Any) -> str:
    """Return a key as a part of a place: as it is, or in brackets where it is not an identifier."""
    text = str(key.value) if isinstance(key, enum.Enum) else key
    return text if isinstance(text, str) and _IDENTIFIER.fullmatch(text) else f"[{_shown(text)}]"


def _joined(outer: str, inner: str) -> str:
    return f"{outer}{inner}" if not inner or inner.startswith("[") else f"{outer}.{inner}"


def _shown(value: Any) -> str:
    """Return a value for a message, cut short."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return record


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")
