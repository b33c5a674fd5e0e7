"""The people with a role in the account."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.models import Membership
from accounts.policy import Permission, Role

from ..base import APIView, item_or_404
from ..serializers import FilterSerializer, ModelSerializer, StrictSerializer, writable


class MemberSerializer(StrictSerializer, ModelSerializer[Membership]):
    email = serializers.EmailField(source="user.email", read_only=True)
    name = serializers.CharField(source="user.name", read_only=True)

    class Meta:
        model = Membership
        fields = ["id", "email", "name", *writable("role"), "joined_at"]


class MemberFilterSerializer(FilterSerializer):
    role = serializers.ChoiceField(
        [role.value for role in Role], required=False, help_text="Members with this role only."
    )


class MembersView(APIView):
    permissions = {"GET": Permission.MEMBER_READ}
    operations = {"GET": "list_members"}
    lists = True
    response_serializers = {"GET": MemberSerializer}
    filter_serializer = MemberFilterSerializer

    def get(self, request: Request) -> Response:
        """List members.

        In the order in which they joined.
        """
        members = Membership.objects.for_account(self.actor.account).select_related("user")
        return self.page(members.filter(**self.filters()))


class MemberView(APIView):
    permissions = {
        "GET": Permission.MEMBER_READ,
        "PATCH": Permission.MEMBER_CHANGE,
        "DELETE": Permission.MEMBER_CHANGE,
    }
    operations = {"GET": "get_member", "PATCH": "change_member", "DELETE": "remove_member"}
    request_serializers = {"PATCH": MemberSerializer}
    response_serializers = {"GET": MemberSerializer, "PATCH": MemberSerializer}
    has_etag = True

    def get(self, request: Request, member_id: str) -> Response:
        """Get a member."""
        return self.item(self.get_object(member_id))

    def patch(self, request: Request, member_id: str) -> Response:
        """Change a member's role.

        The Owner's role can't be changed, and nobody becomes the Owner here.
        """
        membership = self.get_object(member_id)
        role = Role(self.validated().get("role", membership.role))
        if role != membership.role:
            membership = services.change_role(actor=self.actor, membership=membership, role=role)
        return self.item(membership)

    def delete(self, request: Request, member_id: str) -> Response:
        """Remove a member.

        The Owner can't be removed.
        """
        services.remove_member(actor=self.actor, membership=self.get_object(member_id))
        return Response(status=204)

    def get_object(self, member_id: str) -> Membership:
        members = Membership.objects.for_account(self.actor.account).select_related("user")
        return item_or_404(members, pk=member_id)
