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
def test_names_that_look_alike_have_one_appearance(one: str, other: str) -> None:
    assert appearance_of(one) == appearance_of(other)


@pytest.mark.parametrize(("one", "other"), [("anna", "anne"), ("anna2", "anna3"), ("bob", "rob")])
def test_names_that_differ_have_two(one: str, other: str) -> None:
    assert appearance_of(one) != appearance_of(other)


@given(st.text(max_size=200))
def test_every_name_has_an_appearance_that_fits(name: str) -> None:
    assert len(appearance_of(name)) <= NAME_LENGTH
    assert appearance_of(name) == appearance_of(normalized(name))


@pytest.mark.parametrize("name", ["a", "anna", "Anna.Schmidt", "a-b_c+d@e", "x" * 150, "7"])
def test_names_of_ascii_may_be_new(name: str) -> None:
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
def test_names_with_other_characters_or_ends_may_not(name: str) -> None:
    assert not is_well_formed(name)


@pytest.mark.django_db
@pytest.mark.parametrize("name", [*RESERVED, "System", "SYSTEM", "sy5tem", "s.y.s.t.e.m", "r00t", "b0neage"])
def test_no_user_is_called_like_the_service(name: str) -> None:
    with pytest.raises(users.AccountError) as raised:
        users.valid_name(name)
    assert raised.value.code == "user_name_similar"


@pytest.mark.django_db
@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_no_two_users_look_alike(one: str, other: str) -> None:
    User.objects.create_user(one, role=Role.READER)
    with pytest.raises(users.AccountError) as raised:
        users.valid_name(other)
    assert raised.value.code in {"user_exists", "user_name_similar", "user_name_invalid"}
    with pytest.raises(IntegrityError):  # also when two are made at the same moment
        User.objects.create_user(other)
