"""Members and invitations, for programs."""

import pytest
from django.utils import timezone

from accounts.models import Invitation, Membership, User
from tests import factories
from tests.conftest import Cast, Program
from tests.mail import delivered

pytestmark = pytest.mark.django_db


def member_path(cast: Cast, user: User) -> str:
    return f"/v2/members/{Membership.objects.get(account=cast.account, user=user).id}"


def test_members_are_listed_with_their_roles(administrator: Program, cast: Cast) -> None:
    rows = administrator.get("/v2/members").json()["results"]
    assert {(row["email"], row["role"]) for row in rows} == {
        ("owner@example.com", "owner"),
        ("admin@example.com", "admin"),
        ("user@example.com", "user"),
    }
    assert set(rows[0]) == {"id", "email", "name", "role", "joined_at"}


def test_a_role_is_changed_and_a_member_removed(administrator: Program, cast: Cast) -> None:
    path = member_path(cast, cast.user)
    assert administrator.send("patch", path, {"role": "admin"}).json()["role"] == "admin"
    assert administrator.get(path).json()["role"] == "admin"
    assert administrator.delete(path).status_code == 204
    assert administrator.get(path).status_code == 404


def test_a_key_cannot_change_or_remove_the_owner(administrator: Program, cast: Cast) -> None:
    path = member_path(cast, cast.owner)
    assert administrator.send("patch", path, {"role": "user"}).status_code == 403
    assert administrator.delete(path).status_code == 403


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"role": "owner"}, "role"), ({"role": "king"}, "role"), ({"email": "x@example.com"}, "email")],
)
def test_unknown_roles_and_read_only_fields_are_refused(
    administrator: Program, cast: Cast, fields: dict[str, str], named: str
) -> None:
    response = administrator.send("patch", member_path(cast, cast.user), fields)
    assert (response.status_code, list(response.json()["Errors"])) == (400, [named])


def test_an_invitation_is_created_changed_and_withdrawn(administrator: Program) -> None:
    made = administrator.send("post", "/v2/invitations", {"email": "new@example.com", "role": "user"})
    assert made.status_code == 201
    assert set(made.json()) == {"id", "email", "role", "expires_at"}
    assert "https://testserver/invitations/" in delivered()[-1].body
    assert administrator.get("/v2/invitations").json()["results"] == [made.json()]
    assert administrator.send("patch", made["Location"], {"role": "admin"}).json()["role"] == "admin"
    assert administrator.delete(made["Location"]).status_code == 204
    assert administrator.get(made["Location"]).status_code == 404
    assert Invitation.objects.get().state == "withdrawn"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"email": "nonsense", "role": "user"}, "email"),
        ({"email": "user@example.com", "role": "user"}, "email"),
        ({"email": "x@example.com", "role": "owner"}, "role"),
        ({"email": "x@example.com"}, "role"),
        ({"role": "user"}, "email"),
        ({"email": "x@example.com", "role": "user", "token": "x"}, "token"),
    ],
)
def test_an_invalid_invitation_is_refused_by_field(administrator: Program, fields: dict[str, str], named: str) -> None:
    response = administrator.send("post", "/v2/invitations", fields)
    assert (response.status_code, list(response.json()["Errors"])) == (400, [named])


def test_the_token_is_in_no_response(administrator: Program, cast: Cast) -> None:
    sent = factories.make_invitation(cast.account)
    assert sent.token not in administrator.get("/v2/invitations").content.decode()


def test_withdrawn_and_accepted_invitations_are_no_longer_listed(administrator: Program, cast: Cast) -> None:
    factories.make_invitation(cast.account, "open@example.com")
    factories.make_invitation(cast.account, "gone@example.com", withdrawn_at=timezone.now())
    factories.make_invitation(cast.account, "here@example.com", accepted_at=timezone.now())
    listed = administrator.get("/v2/invitations").json()["results"]
    assert [invitation["email"] for invitation in listed] == ["open@example.com"]
