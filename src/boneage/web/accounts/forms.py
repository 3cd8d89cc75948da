"""Forms for accounts and for the audit log."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.validators import RegexValidator
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from boneage.web.accounts import login_guard, second_factor
from boneage.web.accounts.audit import TITLES, Action, record
from boneage.web.accounts.users import MOST_TOKENS, AccountError, is_expired
from boneage.web.day_range import DayRangeForm
from boneage.web.models import TOKEN_DAYS, ApiToken, Role, Scope, User, configuration
from boneage.web.user_names import NAME_LENGTH


def account_error(error: AccountError) -> str:
    """Return the text of an `AccountError` in the active language."""
    return {
        "user_exists": gettext("There is a user of that name already."),
        "user_name_invalid": gettext("Use letters from A to Z and digits, with @ . + - _ between them."),
        "user_name_similar": gettext("This name looks like another user's, or like one that is reserved."),
        "department_unknown": gettext("There is no such department."),
        "not_local": gettext("This user logs in by single sign-on. The provider manages password and role."),
        "last_administrator": gettext("This is the last active administrator. Make another user administrator first."),
        "too_many_tokens": gettext("You have %(count)d tokens in use. Revoke one first.") % {"count": MOST_TOKENS},
    }.get(error.code, error.message)


class Login(AuthenticationForm):
    """Name and password. An expired one-time password gets its own message."""

    def confirm_login_allowed(self, user: User) -> None:
        """Check whether the right password may log in.

        Raises:
            ValidationError: ``inactive``, ``expired``, or ``sign_on_only``.
        """
        super().confirm_login_allowed(user)
        if configuration().emergency_administrator not in ("", user.username):
            message = gettext("Logging in with a password is switched off. Log in with single sign-on.")
            raise forms.ValidationError(message, code="sign_on_only")
        if is_expired(user):
            message = gettext("This one-time password has expired. An administrator can give you a new one.")
            raise forms.ValidationError(message, code="expired")


class NewPassword(PasswordChangeForm):
    """The old password and, twice, a new one. Wrong old passwords count like failed logins."""

    def __init__(self, user: User, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(user, data)
        self._request = request

    def clean_old_password(self) -> str:
        """Return the old password if it is right."""
        return right_password(self._request, self.user, self.cleaned_data["old_password"])

    def clean(self) -> dict[str, Any]:
        """Reject a new password that equals the old one."""
        cleaned = super().clean() or {}
        if cleaned.get("new_password1") and cleaned["new_password1"] == cleaned.get("old_password"):
            self.add_error("new_password1", gettext("Choose another password than the old one."))
        return cleaned


class Unlock(forms.Form):
    """The password again."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password", "autofocus": True}),
    )

    def __init__(self, user: User, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self._user, self._request = user, request

    def clean_password(self) -> str:
        """Return the password if it is right."""
        return right_password(self._request, self._user, self.cleaned_data["password"])


class Confirmation(Unlock):
    """The password again, with a code of the second factor if the user has one."""

    def __init__(self, user: User, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(user, request, data)
        if user.has_second_factor:
            self.fields["code"] = _code_field()

    def clean_code(self) -> str:
        """Check the code, if the password was right."""
        if "password" in self.cleaned_data:
            right_code(self._request, self._user, self.cleaned_data["code"])
        return ""


def _code_field() -> forms.CharField:
    """Return the field of a code of the second factor."""
    return forms.CharField(
        label=_("Code"),
        max_length=64,
        help_text=_("Six digits from your authenticator app, or a recovery code."),
        widget=forms.TextInput({"autocomplete": "one-time-code", "inputmode": "text", "spellcheck": "false"}),
    )


class SecondStep(forms.Form):
    """Second step of a login: a code of the app, or a recovery code."""

    def __init__(self, user: User, request: HttpRequest, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self._user, self._request = user, request
        self.fields["code"] = _code_field()
        self.fields["code"].widget.attrs["autofocus"] = True

    kind: second_factor.Kind = "code"
    """Kind of the code that was right."""

    def clean_code(self) -> str:
        """Check the code."""
        self.kind = right_code(self._request, self._user, self.cleaned_data["code"])
        return ""


class NewApp(forms.Form):
    """First code of a new authenticator app."""

    code = forms.CharField(
        label=_("Code from the app"),
        max_length=16,
        widget=forms.TextInput({"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


def right_code(request: HttpRequest, user: User, code: str) -> second_factor.Kind:
    """Return the kind of a code of the second factor if it is right. The code is used up.

    Raises:
        ValidationError: ``wrong``; it counts like a failed login, and is logged like one.
    """
    name = user.get_username()
    if login_guard.is_locked(request, name):
        raise forms.ValidationError(gettext("This code is wrong or was used before."), code="wrong")
    kind = second_factor.verify(user, code)
    if kind is None:
        locked = login_guard.count_failure(request, name)
        record(user, Action.LOGIN_FAILED, known=True, locked=locked, second_factor=True)
        raise forms.ValidationError(gettext("This code is wrong or was used before."), code="wrong")
    return kind


def right_password(request: HttpRequest, user: AbstractBaseUser, password: str) -> str:
    """Return the password if it is the user's.

    Raises:
        ValidationError: ``wrong``; it counts like a failed login, and is logged like one.
    """
    if authenticate(request, username=user.get_username(), password=password) is None:
        locked = getattr(request, "axes_locked_out", False)
        record(cast(User, user), Action.LOGIN_FAILED, known=True, locked=locked, logged_in=True)
        raise forms.ValidationError(gettext("This is not your password."), code="wrong")
    return password


class NewToken(forms.Form):
    """Purpose, scope and validity of an API token."""

    name = forms.CharField(label=_("Purpose"), max_length=ApiToken._meta.get_field("name").max_length)
    scope = forms.ChoiceField(label=_("Permissions"), choices=Scope.choices, initial=Scope.SUBMIT)
    days = forms.TypedChoiceField(
        label=_("Valid for"),
        coerce=int,
        initial=90,
        choices=[(30, _("30 days")), (90, _("90 days")), (TOKEN_DAYS, _("1 year"))],
    )


class NewUser(forms.Form):
    """Name and role of a new user."""

    name = forms.CharField(
        label=_("Name"), max_length=NAME_LENGTH, widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"})
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class RoleOf(forms.Form):
    """Role of an existing user."""

    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class DepartmentsOf(forms.Form):
    """Departments of an existing user."""

    departments = forms.MultipleChoiceField(label=_("Departments"), required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.MultipleChoiceField, self.fields["departments"])
        field.choices = [(one.name, one.label) for one in configuration().department_list.department]


class SignatureOf(forms.Form):
    """Name and credential of a user as they stand on reports."""

    full_name = forms.CharField(label=_("Full name on reports"), required=False, max_length=150)
    credential = forms.CharField(
        label=_("Title or qualification"),
        required=False,
        max_length=64,
        help_text=_("Such as: MD, paediatric radiologist"),
        validators=[RegexValidator(r"^[^\\^=]*$", _("Do not use \\, ^ or =."))],
    )


_NAMES = {"list": "users", "autocomplete": "off"}
_ACTIONS = [("", _("All")), *((key.value, text) for key, text in TITLES.items())]


class AuditFilter(DayRangeForm):
    """Filter for audit events. It holds nothing that identifies a patient, so that it may be part of a URL."""

    user = forms.CharField(label=_("User"), required=False, max_length=NAME_LENGTH, widget=forms.TextInput(_NAMES))
    action = forms.ChoiceField(label=_("Action"), required=False, choices=_ACTIONS)
    address = forms.GenericIPAddressField(
        label=_("Address"), required=False, widget=forms.TextInput({"autocomplete": "off"})
    )
    object = forms.RegexField(r"^[0-9a-fA-F-]*$", label=_("Object ID"), required=False, max_length=64)
    since = forms.DateField(label=_("Since"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    until = forms.DateField(label=_("Until"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    before = forms.IntegerField(required=False, min_value=1, max_value=2**62, widget=forms.HiddenInput)
