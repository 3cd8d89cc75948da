"""Names of users: which may be new ones, and which look like one another."""

from __future__ import annotations

import pytest
from django.db import IntegrityError
from hypothesis import given
from hypothesis import strategies as st

from boneage.web.accounts import users
from boneage.web.models import Role, User
from boneage.web.user_names import NAME_LENGTH, RESERVED, appearance_of, is_well_formed, normalized

ALIKE = [
    ("rhea", "RHEA"),
    ("rhea", "\uff52hea"),  # full width
    ("rhea", "rhea."),
    ("rhea", "r.h-e_a"),
    ("oil", "011"),
    ("lili", "1i1i"),
    ("warner", "wamer"),
    ("vvilli", "willi"),
    ("susan", "5usan"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_appearance_equal_for_similar_names(one: str, other: str) -> None:
    """Names that look alike have one appearance."""
    assert appearance_of(one) == appearance_of(other)


@pytest.mark.parametrize(("one", "other"), [("anna", "anne"), ("anna2", "anna3"), ("bob", "rob")])
def test_appearance_differs_for_other_names(one: str, other: str) -> None:
    """Names that differ have two."""
    assert appearance_of(one) != appearance_of(other)


@given(st.text(max_size=200))
def test_appearance_exists_for_every_name(name: str) -> None:
    """Every name has an appearance that fits."""
    assert len(appearance_of(name)) <= NAME_LENGTH
    assert appearance_of(name) == appearance_of(normalized(name))


@pytest.mark.parametrize("name", ["a", "anna", "Anna.Schmidt", "a-b_c+d@e", "x" * 150, "7"])
def test_is_well_formed_accepts_ascii(name: str) -> None:
    """Names of ascii may be new."""
    assert is_well_formed(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "anna.",
        "-anna",
        "a b",
        "an\u0430",
        "j\u00fcrgen",
        "anna\u200b",
        "anna\n",
        "a/b",
        "x" * 151,
        "\u202eanna",
    ],
)
def test_is_well_formed_rejects_others(name: str) -> None:
    """Names with other characters or ends may not."""
    assert not is_well_formed(name)


@pytest.mark.django_db
@pytest.mark.parametrize("name", [*RESERVED, "System", "SYSTEM", "sy5tem", "s.y.s.t.e.m", "r00t", "b0neage"])
def test_new_user_with_reserved_name(name: str) -> None:
    """No user is called like the service."""
    with pytest.raises(users.AccountError) as raised:
        users.valid_name(name)
    assert raised.value.code == "user_name_similar"


@pytest.mark.django_db
@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_new_user_with_similar_name(one: str, other: str) -> None:
    """No two users look alike."""
    User.objects.create_user(one, role=Role.READER)
    with pytest.raises(users.AccountError) as raised:
        users.valid_name(other)
    assert raised.value.code in {"user_exists", "user_name_similar", "user_name_invalid"}
    with pytest.raises(IntegrityError):  # also when two are made at the same moment
        User.objects.create_user(other)
