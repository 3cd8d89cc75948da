"""The first account of an installation, created on the command line."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.accounts.users import AccountError, valid_name
from boneage.web.models import Role, User


@transaction.atomic
def create_administrator(name: str, password: str) -> User:
    """Create an administrator with a password chosen by the operator.

    Raises:
        AccountError: ``user_exists``, ``user_name_invalid``, ``user_name_similar`` or ``password_weak``.
    """
    user = User(username=valid_name(name), role=Role.ADMINISTRATOR)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise AccountError("password_weak", " ".join(error.messages)) from None
    user.set_password(password)
    user.save()
    record(SYSTEM, Action.USER_CHANGED, user, change="created", name=user.username, role=user.role)
    return user
