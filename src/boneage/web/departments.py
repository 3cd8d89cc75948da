"""The file of departments, which the setting ``BONEAGE_DEPARTMENTS`` names: who belongs to them, and which radiographs.

Without the file there are no departments, and every user sees every case.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated

from boneage import strict
from boneage.errors import ConfigurationError
from boneage.strict import InvalidValueError, Length, Matching, NotEmpty

LONGEST_NAME = 32
"""Maximum number of characters of a department's name."""

NO_DEPARTMENT = ""
"""Name that stands for no department."""

_NAME = Matching(re.compile(r"[a-z0-9][a-z0-9_-]{0,31}"), "1 to 32 lower-case letters, digits, - or _")
_UNIQUE = ("groups", "department_names", "called_ae_titles", "calling_ae_titles")
"""Keys whose values name one department each, so that nothing belongs to two."""
_LARGEST_FILE = 2**20
"""Bytes of the file that are read."""


@dataclass(frozen=True)
class Department:
    """A department, which sees its own cases.

    Attributes:
        name: short name that is stored with cases and users.
        title: name on pages; empty for the short name.
        groups: groups of single sign-on, or of the login by a proxy, whose members belong to it.
        department_names: values of Institutional Department Name (0008,1040) of its radiographs. Upper case makes no
            difference.
        called_ae_titles: AE titles of the node to which its radiographs are sent.
        calling_ae_titles: AE titles that send its radiographs.
    """

    name: Annotated[str, _NAME]
    title: str = ""
    groups: tuple[NotEmpty, ...] = ()
    department_names: tuple[NotEmpty, ...] = ()
    called_ae_titles: tuple[NotEmpty, ...] = ()
    calling_ae_titles: tuple[NotEmpty, ...] = ()

    @property
    def label(self) -> str:
        """Name on pages."""
        return self.title or self.name


@dataclass(frozen=True)
class Departments:
    """All departments of an installation; none without the file.

    Attributes:
        department: the departments, in the order of the file.
    """

    department: Annotated[tuple[Department, ...], Length(1)]

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        names: set[str] = set()
        taken: set[tuple[str, str]] = set()
        for number, one in enumerate(self.department):
            if one.name in names:
                yield f"department[{number}].name", f"is given twice: {one.name!r}"
            names.add(one.name)
            for key in _UNIQUE:
                for value in getattr(one, key):
                    if (key, value.casefold()) in taken:
                        yield f"department[{number}].{key}", f"names {value!r}, which is given twice"
                    taken.add((key, value.casefold()))

    def __bool__(self) -> bool:
        return bool(self.department)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all departments, in the order of the file."""
        return tuple(one.name for one in self.department)

    @property
    def come_from_groups(self) -> bool:
        """True if the groups of users who log in by single sign-on or a proxy decide on their departments."""
        return any(one.groups for one in self.department)

    def label(self, name: str) -> str:
        """Return the name of a department on pages. One that is no longer in the file keeps its short name."""
        return next((one.label for one in self.department if one.name == name), name)

    def of_groups(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the departments to which the members of groups belong, in the order of the file."""
        member_of = set(groups)
        return tuple(one.name for one in self.department if member_of.intersection(one.groups))

    def of_instance(self, department_name: str, called_ae_title: str, calling_ae_title: str) -> str:
        """Return the name of the department of a received radiograph, or `NO_DEPARTMENT`.

        The object's own statement precedes the AE titles, since one PACS may send for several departments. The called
        AE title precedes the calling one, since the sender chooses it for each radiograph.

        Args:
            department_name: Institutional Department Name of the object; empty without one.
            called_ae_title: AE title by which the sender calls the node; empty without an association.
            calling_ae_title: AE title of the sender.
        """
        stated = department_name.strip().casefold()
        by_object = (
            one.name for one in self.department if stated in {name.casefold() for name in one.department_names}
        )
        by_called = (one.name for one in self.department if called_ae_title.strip() in one.called_ae_titles)
        by_sender = (one.name for one in self.department if calling_ae_title.strip() in one.calling_ae_titles)
        return next(chain(by_object, by_called, by_sender), NO_DEPARTMENT)


NONE = Departments(())
"""Departments of an installation without the file."""


def read_departments(path: Path) -> Departments:
    """Read the file of departments. Each process reads it once.

    Args:
        path: a TOML file.

    Raises:
        ConfigurationError: ``setting_invalid`` if it cannot be read, or with the place of the first fault.
    """
    return _read(path.expanduser().absolute())


@cache
def _read(path: Path) -> Departments:
    try:
        with path.open("rb") as file:
            table = tomllib.loads(file.read(_LARGEST_FILE).decode("utf-8"))
        return strict.read(Departments, table)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = f"is not TOML: {error}"
    except InvalidValueError as error:
        reason = f"is not valid: {error}"
    raise ConfigurationError("setting_invalid", f"BONEAGE_DEPARTMENTS: {path} {reason}.")
