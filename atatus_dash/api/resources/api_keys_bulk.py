"""Revoking and importing several API keys with one request, and a result for each.

The status is 200 if the request can be read, even if keys in it are refused. Results are in the order of the request,
so that programs can match them.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import ids
from accounts.errors import DomainError, Invalid
from accounts.policy import KeyPermission, Permission
from accounts.validators import LINE
from apikeys import gate, imports, services, tokens
from apikeys.models import APIKey
from apikeys.services import Imported, ImportedKey

from ..base import APIView
from ..errors import field_errors
from ..serializers import AnyTextField, EachField, ModelSerializer, ShortListField, StrictSerializer, writable
from .api_keys import AccessField, APIKeySerializer

#: Keys of one request.
MAXIMUM = 1_000


class RevokeSerializer(StrictSerializer):
    ids = ShortListField(child=AnyTextField(max_length=1000), min_length=1, max_length=MAXIMUM)


class RevokedSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(["revoked", "already_revoked", "not_found"])
    Message = serializers.CharField(required=False)


class RevokeResultsSerializer(serializers.Serializer[Any]):
    results = RevokedSerializer(many=True)


class RevokeView(APIView):
    permissions = {"POST": Permission.API_KEY_CHANGE}
    operations = {"POST": "revoke_api_keys"}
    statuses = {}
    request_serializers = {"POST": RevokeSerializer}
    response_serializers = {"POST": RevokeResultsSerializer}
    idempotent_methods = ["POST"]

    def post(self, request: Request) -> Response:
        """Revoke several API keys.

        Keys that exist stop working at once. If the request fails, none of them do. The response has a result for each
        id, in the order of the request. Revoking a key again changes nothing. The key that sends the request may be
        among them.
        """
        # A text that isn't an id may be a key, which must not be in the answer, nor stored with an Idempotency-Key.
        sent = [id if ids.is_id(id) else None for id in self.validated()["ids"]]
        found = APIKey.objects.for_account(self.actor.account).in_bulk(list(filter(None, sent)))
        revoked = services.revoke_api_keys(actor=self.actor, api_keys=found.values())
        return Response({"results": list(_revoked(sent, found.keys(), {api_key.pk for api_key in revoked}))})


def _revoked(sent: Iterable[str | None], found: Collection[str], revoked: set[str]) -> Iterator[dict[str, str | None]]:
    """The result for each id. If an id is in the list twice, its key is already revoked the second time."""
    for id in sent:
        if id not in found:
            yield {"id": id, "status": "not_found", "Message": gate.NOT_FOUND}
        elif id in revoked:
            revoked.remove(id)
            yield {"id": id, "status": "revoked"}
        else:
            yield {"id": id, "status": "already_revoked"}


class ImportedAPIKeySerializer(StrictSerializer, ModelSerializer[APIKey]):
    """A key that another system issued, by the digest of its text. The text itself is never sent."""

    digest = serializers.CharField(max_length=64, validators=LINE)
    mask = serializers.CharField(max_length=20, validators=LINE, required=False)
    access = AccessField(required=False, allow_null=True)

    class Meta:
        model = APIKey
        fields = writable("name", "permission", "digest", "mask", "expires_at", "access")
        extra_kwargs = {"permission": {"error_messages": {"invalid_choice": "Send one of read, write and read_write."}}}

    def run_validation(self, data: Any = empty) -> Any:
        """Errors repeat no text that is long enough to be a key, because a key may be in a wrong field."""
        try:
            return super().run_validation(data)
        except serializers.ValidationError as error:
            found = field_errors(error.detail)
            for text in filter(_may_be_a_key, _texts(data)):
                repeated = text[:100]  # an error repeats only this much of it
                found = {
                    name.replace(repeated, "…"): [sentence.replace(repeated, "…") for sentence in sentences]
                    for name, sentences in found.items()
                }
            raise serializers.ValidationError(found) from None

    def validate_digest(self, value: str) -> str:
        if imports.DIGEST.fullmatch(value.lower()) is None:
            raise serializers.ValidationError("Send the SHA-256 digest of the key, 64 hexadecimal digits.")
        return value.lower()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if imports.is_key_itself(attrs["digest"], attrs["name"], attrs.get("mask", "")):
            raise serializers.ValidationError({"name": [f"{imports.KEY_ITSELF} Never send a key."]})
        return attrs


def _may_be_a_key(text: str) -> bool:
    return len(text) >= tokens.FOREIGN_MINIMUM and text not in APIKeySerializer.Meta.fields


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of JSON, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield from (str(name), *_texts(held))
    elif isinstance(value, list):
        for held in value:
            yield from _texts(held)


class ImportSerializer(StrictSerializer):
    api_keys = EachField(child=ImportedAPIKeySerializer(), min_length=1, max_length=MAXIMUM)


class ImportedSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(["imported", "already_imported", "refused"])
    Message = serializers.CharField(required=False)
    Errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()), required=False)


class ImportResultsSerializer(serializers.Serializer[Any]):
    results = ImportedSerializer(many=True)


class ImportView(APIView):
    permissions = {"POST": Permission.API_KEY_CHANGE}
    operations = {"POST": "import_api_keys"}
    statuses = {}
    request_serializers = {"POST": ImportSerializer}
    response_serializers = {"POST": ImportResultsSerializer}
    idempotent_methods = ["POST"]

    def post(self, request: Request) -> Response:
        """Import API keys.

        Keys of another system are imported by their SHA-256 digests, so programs can go on using them. Valid keys are
        imported even if others are refused: the response has a result for each, in the order of the request. Importing
        a key again changes nothing. A digest that another account has is answered like any other, but its key never
        works here.
        """
        sent = self.validated()["api_keys"]
        rows = [_row(place, item) for place, item in enumerate(sent) if isinstance(item, dict)]
        imported = iter(services.import_valid_api_keys(actor=self.actor, rows=rows))
        results = [_imported(next(imported)) if isinstance(item, dict) else _refused(_invalid(item)) for item in sent]
        return Response({"results": results})


def _row(place: int, item: dict[str, Any]) -> ImportedKey:
    return ImportedKey(
        line=place,
        name=item["name"],
        permission=KeyPermission(item["permission"]),
        digest=item["digest"],
        mask=item.get("mask") or imports.mask_of(item["digest"]),
        expires_at=item.get("expires_at"),
        access=item.get("access"),
    )


def _imported(result: Imported | DomainError) -> dict[str, Any]:
    if isinstance(result, DomainError):
        return _refused(result)
    return {"id": result.api_key.pk, "status": "imported" if result.is_new else "already_imported"}


def _invalid(error: serializers.ValidationError) -> Invalid:
    return Invalid.of_fields(field_errors(error.detail))


def _refused(error: DomainError) -> dict[str, Any]:
    errors = {"Errors": error.errors} if error.errors else {}
    return {"id": None, "status": "refused", "Message": error.message, **errors}
