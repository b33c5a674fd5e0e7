"""How an account, its people and what it owns look to a program, and what a program may send."""

from collections.abc import Mapping
from typing import Any

from django.utils.datastructures import MultiValueDict
from rest_framework import serializers
from rest_framework.fields import empty

from .. import ids, redaction
from ..audit import Event
from ..models import Account, AuditEvent, Deployment, Invitation, Membership, Project
from ..validators import LINE, TEXT, unix_lines


class BodySerializer(serializers.Serializer[Any]):
    """Reads a form as the JSON object that says the same, and an empty value as null.

    DRF takes a boolean that a form leaves out for an unticked checkbox. A program ticks nothing: what it leaves out
    has its default, and a list is a field that is sent several times.
    """

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(self.plain(data) if isinstance(data, Mapping) else data)

    def plain(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(data, MultiValueDict):
            data = {name: self._from_form(name, data.getlist(name)) for name in data}
        return {name: self._or_empty(name, value) for name, value in data.items()}

    def _from_form(self, name: str, values: list[Any]) -> Any:
        field = self.fields.get(name)
        if isinstance(field, serializers.ListField):
            return [value for value in values if value != ""]
        if field is not None and len(values) > 1:
            raise serializers.ValidationError({name: ["Send this field once."]})
        return values[-1] if values else ""

    def _or_empty(self, name: str, value: Any) -> Any:
        """The value, or for null and an empty text what the field keeps where there is nothing."""
        field = self.fields.get(name)
        if field is None or value not in (None, ""):
            return value
        if field.allow_null:
            return None
        if isinstance(field, serializers.ListField):
            return []
        return "" if getattr(field, "allow_blank", False) else value


class StrictSerializer(BodySerializer):
    """Refuses, by name, fields that are unknown or not the client's to set."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := [str(name) for name in data if name not in writable]:
                raise serializers.ValidationError({name: ["This field is unknown here."] for name in unknown[:20]})
        return super().to_internal_value(data)


class ShortListField(serializers.ListField):
    """A list whose length is looked at first: DRF reads every item of one that it then refuses for its length."""

    max_length: int

    def run_child_validation(self, data: Any) -> list[Any]:
        if len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().run_child_validation(data)


class KeptIdField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not ids.is_kept_id(text):
            raise serializers.ValidationError("Send 24 hexadecimal characters, or nothing for a new id.")
        return text


class CutField(serializers.CharField):
    """Text that is cut to what we keep instead of refused. Validators see all of it: no part of a key is kept."""

    def __init__(self, *, kept: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept = kept

    def run_validation(self, data: Any = empty) -> Any:
        text = super().run_validation(data)
        return text[: self.kept] if isinstance(text, str) else text


class AccountSerializer(StrictSerializer, serializers.ModelSerializer[Account]):
    class Meta:
        model = Account
        fields = [
            "slug",
            "name",
            "max_key_lifetime_days",
            "accepts_query",
            "accepts_body",
            "revoke_exposed_keys",
            "requires_two_factor",
            "created_at",
        ]
        read_only_fields = ["slug", "requires_two_factor", "created_at"]


class ProjectSerializer(StrictSerializer, serializers.ModelSerializer[Project]):
    id = serializers.CharField(source="public_id", read_only=True)

    class Meta:
        model = Project
        fields = ["id", "name", "created_at"]
        read_only_fields = ["created_at"]


class NewProjectSerializer(ProjectSerializer):
    """A project that may keep the id that it has at Atatus, so that its pipelines go on as they are."""

    id = KeptIdField(source="kept_id", required=False, allow_null=True)


#: How many characters each column of a deployment keeps.
KEPT = {column.name: column.max_length or 0 for column in Deployment._meta.fields}


class DeploymentSerializer(BodySerializer, serializers.ModelSerializer[Deployment]):
    """Lenient, for the sake of clients in the field: unknown fields are ignored, and null or empty means not given.

    A pipeline doesn't fail over a commit message that others wrote: a key in `changes` is masked and not refused, and
    all but `revision` is cut to what we keep.
    """

    release_stage = CutField(kept=KEPT["release_stage"], validators=LINE, required=False)
    changes = CutField(kept=KEPT["changes"], validators=TEXT, required=False)
    user = CutField(kept=KEPT["user"], validators=LINE, required=False)

    class Meta:
        model = Deployment
        fields = ["id", "revision", "release_stage", "changes", "user", "created_at"]
        read_only_fields = ["id", "created_at"]

    def plain(self, data: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in super().plain(data).items() if not _is_blank(value)}
        if isinstance(changes := given.get("changes"), str):
            given["changes"] = unix_lines(redaction.redact(changes))
        return given


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


class MemberSerializer(StrictSerializer, serializers.ModelSerializer[Membership]):
    email = serializers.EmailField(source="user.email", read_only=True)
    name = serializers.CharField(source="user.name", read_only=True)

    class Meta:
        model = Membership
        fields = ["id", "email", "name", "role", "joined_at"]
        read_only_fields = ["id", "joined_at"]


class InvitationSerializer(StrictSerializer, serializers.ModelSerializer[Invitation]):
    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "expires_at"]
        read_only_fields = ["id", "expires_at"]


class InvitationRoleSerializer(InvitationSerializer):
    """An invitation that was sent: its address stays."""

    class Meta(InvitationSerializer.Meta):
        read_only_fields = ["id", "email", "expires_at"]


class AuditEventSerializer(serializers.ModelSerializer[AuditEvent]):
    actor = serializers.SerializerMethodField()
    target = serializers.SerializerMethodField()

    class Meta:
        model = AuditEvent
        fields = ["id", "at", "event", "actor", "target", "address", "request_id", "changes"]

    def get_actor(self, event: AuditEvent) -> dict[str, str]:
        return {"kind": event.actor_kind, "id": event.actor_id, "label": event.actor_label}

    def get_target(self, event: AuditEvent) -> dict[str, str]:
        return {"kind": event.target_kind, "id": event.target_id, "label": event.target_label}


#: What the log can be filtered by: an event, or the subject that all of its events share.
EVENTS = sorted({name for event in Event for name in (event.value, event.partition(".")[0])})


class AuditFilterSerializer(serializers.Serializer[Any]):
    """`since` is included, `until` is not."""

    actor = serializers.CharField(required=False, allow_blank=True)
    event = serializers.ChoiceField(EVENTS, required=False, allow_blank=True)
    target = serializers.CharField(required=False, allow_blank=True)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
