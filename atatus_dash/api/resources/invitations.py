"""Invitations to the account that were neither accepted nor withdrawn."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import links, services
from accounts.models import Invitation
from accounts.policy import Permission, Role

from ..base import APIView, item_or_404
from ..serializers import FilterSerializer, ModelSerializer, StrictSerializer, writable


class InvitationSerializer(StrictSerializer, ModelSerializer[Invitation]):
    class Meta:
        model = Invitation
        fields = ["id", *writable("email", "role"), "expires_at"]


class InvitationRoleSerializer(InvitationSerializer):
    """The changeable field of a sent invitation: its role, not its address."""

    class Meta(InvitationSerializer.Meta):
        fields = writable("role")


class InvitationFilterSerializer(FilterSerializer):
    role = serializers.ChoiceField(
        Invitation._meta.get_field("role").flatchoices, required=False, help_text="Invitations to this role only."
    )


class InvitationsView(APIView):
    permissions = {"GET": Permission.MEMBER_READ, "POST": Permission.MEMBER_CHANGE}
    operations = {"GET": "list_invitations", "POST": "send_invitation"}
    lists = True
    request_serializers = {"POST": InvitationSerializer}
    response_serializers = {"GET": InvitationSerializer, "POST": InvitationSerializer}
    filter_serializer = InvitationFilterSerializer
    idempotent_methods = ["POST"]

    def get(self, request: Request) -> Response:
        """List open invitations.

        Newest first.
        """
        return self.page(Invitation.objects.for_account(self.actor.account).open().filter(**self.filters()))

    def post(self, request: Request) -> Response:
        """Invite somebody.

        Sends an e-mail with a link. There are limits by address and by account.
        """
        fields = self.validated()
        invitation = services.invite(
            actor=self.actor,
            email=fields["email"],
            role=Role(fields["role"]),
            link=links.invitations(request._request),
        )
        return self.created(invitation)


class InvitationView(APIView):
    permissions = {
        "GET": Permission.MEMBER_READ,
        "PATCH": Permission.MEMBER_CHANGE,
        "DELETE": Permission.MEMBER_CHANGE,
    }
    operations = {"GET": "get_invitation", "PATCH": "change_invitation", "DELETE": "withdraw_invitation"}
    request_serializers = {"PATCH": InvitationRoleSerializer}
    response_serializers = {"GET": InvitationSerializer, "PATCH": InvitationSerializer}
    has_etag = True

    def get(self, request: Request, invitation_id: str) -> Response:
        """Get an open invitation."""
        return self.item(self.get_object(invitation_id))

    def patch(self, request: Request, invitation_id: str) -> Response:
        """Change the role in an invitation."""
        invitation = self.get_object(invitation_id)
        role = Role(self.validated().get("role", invitation.role))
        if role != invitation.role:
            invitation = services.change_invitation(actor=self.actor, invitation=invitation, role=role)
        return self.item(invitation)

    def delete(self, request: Request, invitation_id: str) -> Response:
        """Withdraw an invitation.

        Its link no longer works.
        """
        services.withdraw_invitation(actor=self.actor, invitation=self.get_object(invitation_id))
        return Response(status=204)

    def get_object(self, invitation_id: str) -> Invitation:
        return item_or_404(Invitation.objects.for_account(self.actor.account).open(), pk=invitation_id)
