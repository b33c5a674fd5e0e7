"""How an account, its people and what it owns look to a program, and what a program may send."""

from collections.abc import Mapping
from typing import Any

from django.utils.datastructures import MultiValueDict
from rest_framework import serializers

from .. import redaction
from ..audit import Event
from ..models import Account, AuditEvent, Deployment, Invitation, Membership, Project
from ..validators import unix_lines


class BodySerializer(serializers.Serializer[Any]):
    """Reads a form as the JSON object that says the same, and an empty value as null.

    DRF takes a boolean that a form leaves out for an unticked checkbox. A program ticks nothing: what it leaves out
    has its default, and a list is a field that is sent several times.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, MultiValueDict):
            data = {name: self._from_form(name, data.getlist(name)) for name in data}
        if isinstance(data, Mapping):
            data = {name: self._or_empty(name, value) for name, value in data.items()}
        return super().to_internal_value(data)

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
    class Meta:
        model = Project
        fields = ["id", "name", "created_at"]
        read_only_fields = ["id", "created_at"]


class DeploymentSerializer(BodySerializer, serializers.ModelSerializer[Deployment]):
    """Lenient, for the sake of clients in the field: unknown fields are ignored, and null or empty means not given.

    A key in `changes` is masked and not refused: others wrote the commit messages, and the pipeline must go on.
    """

    class Meta:
        model = Deployment
        fields = ["id", "revision", "release_stage", "changes", "user", "created_at"]
        read_only_fields = ["id", "created_at"]

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            data = {name: value for name, value in data.items() if value not in (None, "")}
            if isinstance(changes := data.get("changes"), str):
                data["changes"] = unix_lines(redaction.redact(changes))
        return super().to_internal_value(data)


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
