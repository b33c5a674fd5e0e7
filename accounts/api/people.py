"""Members and invitations, for programs with administrator access."""

from rest_framework.request import Request
from rest_framework.response import Response

from .. import links, services
from ..models import Invitation, Membership
from ..policy import Permission, Role
from .base import APIView, item_or_404
from .serializers import InvitationRoleSerializer, InvitationSerializer, MemberSerializer


class MembersView(APIView):
    permissions = {"GET": Permission.MEMBER_READ}

    def get(self, request: Request) -> Response:
        members = Membership.objects.for_account(self.actor.account).select_related("user")
        return self.page(members, MemberSerializer)


class MemberView(APIView):
    permissions = {
        "GET": Permission.MEMBER_READ,
        "PATCH": Permission.MEMBER_CHANGE,
        "DELETE": Permission.MEMBER_CHANGE,
    }

    def get(self, request: Request, member_id: str) -> Response:
        return Response(MemberSerializer(self._member(member_id)).data)

    def patch(self, request: Request, member_id: str) -> Response:
        membership = self._member(member_id)
        role = Role(self.validated(MemberSerializer, partial=True).get("role", membership.role))
        if role != membership.role:
            membership = services.change_role(actor=self.actor, membership=membership, role=role)
        return Response(MemberSerializer(membership).data)

    def delete(self, request: Request, member_id: str) -> Response:
        services.remove_member(actor=self.actor, membership=self._member(member_id))
        return Response(status=204)

    def _member(self, member_id: str) -> Membership:
        members = Membership.objects.for_account(self.actor.account).select_related("user")
        return item_or_404(members, pk=member_id)


class InvitationsView(APIView):
    """Those that were neither accepted nor withdrawn."""

    permissions = {"GET": Permission.MEMBER_READ, "POST": Permission.MEMBER_CHANGE}

    def get(self, request: Request) -> Response:
        return self.page(Invitation.objects.for_account(self.actor.account).open(), InvitationSerializer)

    def post(self, request: Request) -> Response:
        fields = self.validated(InvitationSerializer)
        invitation = services.invite(
            actor=self.actor,
            email=fields["email"],
            role=Role(fields["role"]),
            link=links.invitations(request._request),
        )
        return self.created(InvitationSerializer(invitation).data)


class InvitationView(APIView):
    permissions = {
        "GET": Permission.MEMBER_READ,
        "PATCH": Permission.MEMBER_CHANGE,
        "DELETE": Permission.MEMBER_CHANGE,
    }

    def get(self, request: Request, invitation_id: str) -> Response:
        return Response(InvitationSerializer(self._invitation(invitation_id)).data)

    def patch(self, request: Request, invitation_id: str) -> Response:
        invitation = self._invitation(invitation_id)
        role = Role(self.validated(InvitationRoleSerializer, partial=True).get("role", invitation.role))
        if role != invitation.role:
            invitation = services.change_invitation(actor=self.actor, invitation=invitation, role=role)
        return Response(InvitationSerializer(invitation).data)

    def delete(self, request: Request, invitation_id: str) -> Response:
        services.withdraw_invitation(actor=self.actor, invitation=self._invitation(invitation_id))
        return Response(status=204)

    def _invitation(self, invitation_id: str) -> Invitation:
        return item_or_404(Invitation.objects.for_account(self.actor.account).open(), pk=invitation_id)
