"""Passkeys: what allauth leaves open about adding one."""

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from allauth.mfa.webauthn.internal import auth


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    def clean_credential(self) -> Any:
        """Refuse what is no credential.

        allauth doesn't look at one that is false, such as 0, and adds it all the same: who sends that would
        count as having two-factor, and meet an error wherever the passkey is read. Others make it raise.
        """
        credential = self.cleaned_data["credential"]
        try:
            auth.parse_registration_response(credential)
        except (KeyError, ValueError):
            raise get_adapter().validation_error("incorrect_code") from None
        return credential
