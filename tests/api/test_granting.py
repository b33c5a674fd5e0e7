"""A key with administrator access can't exceed its own limits, neither with other keys nor with members."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.context import NO_REQUEST, RequestContext
from accounts.errors import NotPermitted
from accounts.models import Account, Invitation, Membership, User
from accounts.policy import Role
from accounts.services import change_account, resend_invitation
from apikeys import actors, lookup
from apikeys.models import APIKey
from apikeys.services import Issued
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db

IN_A_WEEK = timezone.now() + timedelta(days=7)

LIMITS: dict[str, dict[str, Any]] = {
    "expires": {"expires_at": IN_A_WEEK},
    "is limited to networks": {"allowed_networks": ["127.0.0.0/8"]},
    "has its own rate limit": {"rate_limit": "300/minute"},
    "has limited access": {"access": '[{"service":"api"}]'},
}


@pytest.fixture(params=LIMITS)
def limit(request: pytest.FixtureRequest) -> str:
    limit: str = request.param
    return limit


@pytest.fixture
def issued(cast: Cast, limit: str) -> Issued:
    return factories.make_key(cast.account, "Limited", administrator=True, **LIMITS[limit])


@pytest.fixture
def limited(issued: Issued) -> Program:
    return Program(issued.secret)


@pytest.fixture
def refusal(limit: str) -> dict[str, str]:
    return {"Message": f"A key that {limit} can't give the role Admin."}


def member(cast: Cast, who: User) -> Membership:
    return Membership.objects.get(account=cast.account, user=who)


def test_a_limited_key_cannot_invite_an_admin(limited: Program, refusal: dict[str, str]) -> None:
    response = limited.send("POST", "/v2/invitations", {"email": "accomplice@example.com", "role": "admin"})
    assert (response.status_code, response.json()) == (403, refusal)
    assert not Invitation.objects.exists()


def test_a_limited_key_cannot_promote_a_member(cast: Cast, limited: Program, refusal: dict[str, str]) -> None:
    response = limited.send("PATCH", f"/v2/members/{member(cast, cast.user).id}", {"role": "admin"})
    assert (response.status_code, response.json()) == (403, refusal)
    assert member(cast, cast.user).role == "user"


def test_a_limited_key_cannot_change_an_invitation_to_admin(
    cast: Cast, limited: Program, refusal: dict[str, str]
) -> None:
    invitation = factories.make_invitation(cast.account).invitation
    response = limited.send("PATCH", f"/v2/invitations/{invitation.id}", {"role": "admin"})
    assert (response.status_code, response.json()) == (403, refusal)
    assert Invitation.objects.get().role == "user"


def test_a_limited_key_cannot_resend_an_invitation_of_an_admin(
    cast: Cast, issued: Issued, refusal: dict[str, str]
) -> None:
    sent = factories.make_invitation(cast.account, role=Role.ADMIN).invitation
    record = lookup.by_id(issued.api_key.id)
    assert record is not None
    actor = actors.actor_of(record, context=RequestContext("127.0.0.1"))
    with pytest.raises(NotPermitted, match=refusal["Message"]):
        resend_invitation(actor=actor, invitation=sent, link=str)


def test_a_limited_key_can_manage_users_and_reduce_roles(cast: Cast, limited: Program) -> None:
    invited = limited.send("POST", "/v2/invitations", {"email": "new@example.com", "role": "user"})
    other = factories.make_invitation(cast.account, "other@example.com", Role.ADMIN).invitation
    answers = [
        limited.send("PATCH", f"/v2/invitations/{other.id}", {"role": "user"}),
        limited.send("DELETE", f"/v2/invitations/{other.id}"),
        limited.send("PATCH", f"/v2/members/{member(cast, cast.admin).id}", {"role": "user"}),
        limited.send("DELETE", f"/v2/members/{member(cast, cast.user).id}"),
        limited.send("PATCH", "/v2/account", {"max_key_lifetime_days": 30}),
    ]
    assert [invited.status_code, *(answer.status_code for answer in answers)] == [201, 200, 204, 200, 204, 200]


def test_a_key_without_limits_can_create_an_admin(cast: Cast, administrator: Program) -> None:
    invited = administrator.send("POST", "/v2/invitations", {"email": "new@example.com", "role": "admin"})
    promoted = administrator.send("PATCH", f"/v2/members/{member(cast, cast.user).id}", {"role": "admin"})
    assert (invited.status_code, promoted.status_code) == (201, 200)


@pytest.mark.parametrize("wanted", [True, False])
def test_no_key_changes_whether_two_factor_is_required(
    cast: Cast, administrator: Program, limited: Program, wanted: bool
) -> None:
    Account.objects.filter(pk=cast.account.pk).update(requires_two_factor=not wanted)
    for program in (administrator, limited):
        response = program.send("PATCH", "/v2/account", {"requires_two_factor": wanted})
        assert response.status_code == 400
        assert response.json()["Errors"] == {"requires_two_factor": ["This field is unknown here."]}
    assert Account.objects.get(pk=cast.account.pk).requires_two_factor is not wanted


def test_no_key_can_change_required_two_factor_through_the_service(cast: Cast) -> None:
    key = factories.make_key(cast.account, administrator=True).api_key
    record = lookup.by_id(key.id)
    assert record is not None
    actor = actors.actor_of(record, context=NO_REQUEST)
    with pytest.raises(NotPermitted):
        change_account(actor=actor, requires_two_factor=False)


# Its own rate -----------------------------------------------------------------------------------


@pytest.fixture
def slow(cast: Cast) -> Issued:
    return factories.make_key(cast.account, "Slow", administrator=True, rate_limit="300/minute")


@pytest.mark.parametrize("rate", [None, "301/minute", "300/second", "18001/hour", "600/hour"])
def test_a_key_with_its_own_rate_cannot_create_a_faster_key_or_raise_a_rate(
    cast: Cast, slow: Issued, rate: str | None
) -> None:
    """The last rate is slower in the long run, but allows more requests at once."""
    root, other = Program(slow.secret), factories.make_key(cast.account, rate_limit="1/minute").api_key
    answers = [
        root.send("POST", "/v2/api-keys", {"name": "x", "permission": "read", "rate_limit": rate}),
        root.send("PATCH", f"/v2/api-keys/{slow.api_key.id}", {"rate_limit": rate}),
        root.send("PATCH", f"/v2/api-keys/{other.id}", {"rate_limit": rate}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert answers[0].json() == {"Message": "A key can't create a key with a higher rate limit than its own."}
    assert APIKey.objects.get(pk=slow.api_key.pk).rate_limit == "300/minute"


def test_a_key_with_its_own_rate_cannot_rotate_or_enable_a_faster_key(cast: Cast, slow: Issued) -> None:
    free = factories.make_key(cast.account, "Free").api_key
    off = factories.make_key(cast.account, "Off", disabled_at=timezone.now()).api_key
    root = Program(slow.secret)
    assert root.send("POST", f"/v2/api-keys/{free.id}/rotate", {}).status_code == 403
    assert root.send("PATCH", f"/v2/api-keys/{off.id}", {"disabled": False}).status_code == 403


def test_a_key_with_its_own_rate_can_create_equally_fast_keys_and_rotate_itself(slow: Issued) -> None:
    root = Program(slow.secret)
    for rate in ("300/minute", "5/second", "1/day"):
        made = root.send("POST", "/v2/api-keys", {"name": "x", "permission": "read", "rate_limit": rate})
        assert made.status_code == 201
    successor = root.send("POST", f"/v2/api-keys/{slow.api_key.id}/rotate", {})
    assert successor.json()["rate_limit"] == "300/minute"


def test_a_key_without_its_own_rate_can_set_any(administrator: Program) -> None:
    made = administrator.send("POST", "/v2/api-keys", {"name": "x", "permission": "read", "rate_limit": "9000/second"})
    assert made.status_code == 201
