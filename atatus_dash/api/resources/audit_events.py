"""The audit log: every change in the account, and who made it."""

from typing import TypedDict

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.audit import EVENT_CHOICES
from accounts.models import AuditEvent
from accounts.policy import Permission

from ..base import APIView, item_or_404
from ..serializers import FilterSerializer, ModelSerializer, TextFilter


class LabelledJSON(TypedDict):
    kind: str
    id: str
    label: str


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ChangesField(serializers.JSONField):
    """Each changed field with its value before and after."""


class AuditEventSerializer(ModelSerializer[AuditEvent]):
    actor = serializers.SerializerMethodField()
    target = serializers.SerializerMethodField()
    changes = ChangesField(read_only=True)

    class Meta:
        model = AuditEvent
        fields = ["id", "at", "event", "actor", "target", "address", "request_id", "changes"]

    def get_actor(self, event: AuditEvent) -> LabelledJSON:
        return {"kind": event.actor_kind, "id": event.actor_id, "label": event.actor_label}

    def get_target(self, event: AuditEvent) -> LabelledJSON:
        return {"kind": event.target_kind, "id": event.target_id, "label": event.target_label}


class AuditFilterSerializer(FilterSerializer):
    """The filters of `AuditEventQuerySet.matching`."""

    actor = TextFilter(help_text="Its id, or part of its label.")
    event = serializers.ChoiceField(EVENT_CHOICES, required=False, help_text="An event, or all with its subject.")
    target = TextFilter(help_text="Its id, or part of its label.")
    since = serializers.DateTimeField(required=False, help_text="Included.")
    until = serializers.DateTimeField(required=False, help_text="Not included.")


class AuditEventsView(APIView):
    permissions = {"GET": Permission.AUDIT_READ}
    operations = {"GET": "list_audit_events"}
    lists = True
    response_serializers = {"GET": AuditEventSerializer}
    filter_serializer = AuditFilterSerializer

    def get(self, request: Request) -> Response:
        """List audit events.

        Newest first.
        """
        events = AuditEvent.objects.for_account(self.actor.account)
        return self.page(events.matching(**self.filters()))


class AuditEventView(APIView):
    permissions = {"GET": Permission.AUDIT_READ}
    operations = {"GET": "get_audit_event"}
    response_serializers = {"GET": AuditEventSerializer}
    has_etag = True

    def get(self, request: Request, event_id: str) -> Response:
        """Get an audit event."""
        return self.item(item_or_404(AuditEvent.objects.for_account(self.actor.account), pk=event_id))
