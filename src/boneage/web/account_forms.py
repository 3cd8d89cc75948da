"""Forms of accounts and of the audit log."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import PasswordChangeForm
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from boneage.web.audit import TITLES
from boneage.web.models import ApiToken, Role, User
from boneage.web.users import MOST_TOKENS, NAME_LENGTH, AccountError


def account_error(error: AccountError) -> str:
    """What an `AccountError` says to the reader, in the reader's language."""
    return {
        "user_exists": gettext("There is a user of that name already."),
        "user_name_invalid": gettext("Use letters, digits and @ . + - _ only, at most 150 of them."),
        "last_administrator": gettext("This is the last active administrator. Make another user administrator first."),
        "too_many_tokens": gettext("You have %(count)d tokens in use. Revoke one first.") % {"count": MOST_TOKENS},
    }.get(error.code, error.message)


class NewPassword(PasswordChangeForm):
    """The old password and, twice, another one."""

    def clean(self) -> dict[str, Any]:
        """Whether it is another one."""
        cleaned = super().clean() or {}
        if cleaned.get("new_password1") and cleaned["new_password1"] == cleaned.get("old_password"):
            self.add_error("new_password1", gettext("Choose another password than the old one."))
        return cleaned

    def save(self, commit: bool = True) -> User:
        """Set it; it is its user's own from now on."""
        self.user.password_is_temporary = False
        user: User = super().save(commit)
        return user


class NewToken(forms.Form):
    """What a token of the API is for."""

    name = forms.CharField(label=_("What it is for"), max_length=ApiToken._meta.get_field("name").max_length)


class NewUser(forms.Form):
    """A name and a role."""

    name = forms.CharField(
        label=_("Name"), max_length=NAME_LENGTH, widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"})
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class RoleOf(forms.Form):
    """Another role."""

    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


_NAMES = {"list": "users", "autocomplete": "off"}
_ACTIONS = [("", _("All")), *((key.value, text) for key, text in TITLES.items())]


class AuditFilter(forms.Form):
    """Which events are shown; nothing in it says who a patient is, so it may stand in an address."""

    user = forms.CharField(label=_("User"), required=False, max_length=NAME_LENGTH, widget=forms.TextInput(_NAMES))
    action = forms.ChoiceField(label=_("Action"), required=False, choices=_ACTIONS)
    object = forms.RegexField(r"^[0-9a-fA-F-]*$", label=_("Object's id"), required=False, max_length=64)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    before = forms.IntegerField(required=False, min_value=1, max_value=2**62, widget=forms.HiddenInput)
