"""How many requests each key sent, by day and service."""

import re
from typing import Any, TypedDict

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.policy import Permission
from apikeys.models import KeyUsage

from ..base import APIView
from ..serializers import FilterSerializer, ModelSerializer, TextFilter


class KeyJSON(TypedDict):
    id: str
    name: str


class UsageSerializer(ModelSerializer[KeyUsage]):
    api_key = serializers.SerializerMethodField()

    class Meta:
        model = KeyUsage
        fields = ["day", "api_key", "service", "requests", "succeeded", "client_errors", "throttled", "server_errors"]

    def get_api_key(self, usage: KeyUsage) -> KeyJSON:
        return {"id": usage.api_key.id, "name": usage.api_key.name}


class KeyIdFilter(TextFilter):
    pattern = "^key_[0-9A-Za-z]{1,36}$"  # for the schema

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if re.search(self.pattern, text) is None:
            raise serializers.ValidationError("Send the id of a key, such as key_7Kd2Qm0aXb9LsTyW.")
        return text


class UsageFilterSerializer(FilterSerializer):
    """Days are in UTC; `since` and `until` are both included.

    `key` is an id. It isn't named `api_key`, because a parameter of that name is a credential. `service` is `api`, or
    the id of a service, which may have been deleted.
    """

    key = KeyIdFilter(help_text="The id of a key.")
    service = TextFilter(help_text="The id of a service, or `api`.")
    since = serializers.DateField(required=False, help_text="A day in UTC. Included.")
    until = serializers.DateField(required=False, help_text="A day in UTC. Included.")


class UsageView(APIView):
    """Usage by day, key and service, newest day first. Counts are up to USAGE_FLUSH_SECONDS old."""

    permissions = {"GET": Permission.USAGE_READ}
    operations = {"GET": "list_usage"}
    lists = True
    response_serializers = {"GET": UsageSerializer}
    filter_serializer = UsageFilterSerializer

    def get(self, request: Request) -> Response:
        """List usage.

        A row for each day, key and service, newest day first.
        """
        usage = KeyUsage.objects.for_account(self.actor.account).select_related("api_key")
        return self.page(usage.matching(**self.filters()))
