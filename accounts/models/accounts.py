"""Accounts, memberships and invitations."""

from typing import ClassVar, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from .. import fields, ids
from ..policy import TWO_FACTOR_ROLES, AccountRef, Role
from ..targets import Target
from .owned import AccountOwnedQuerySet
from .users import User


class AccountQuerySet(models.QuerySet["Account"]):
    def for_user(self, user: User) -> Self:
        """The accounts that the user is a member of."""
        return self.filter(memberships__user=user)

    def active(self) -> Self:
        """The accounts whose pages can be used: neither closed nor suspended."""
        return self.filter(closed_at=None, suspended_at=None)


class Account(models.Model):
    """The tenant. `slug` names it in URLs and never changes."""

    name = fields.LineField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    suspended_at = models.DateTimeField(null=True, blank=True, editable=False)
    max_key_lifetime_days = models.PositiveSmallIntegerField(
        "maximum key lifetime",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Days. Empty: keys need not expire.",
    )
    accepts_query = models.BooleanField("keys in the query string", default=True)
    accepts_body = models.BooleanField("keys in the body", default=True)
    requires_two_factor = models.BooleanField("two-factor for Owner and Admins", default=False)
    offered_to = models.ForeignKey(
        "Membership", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoke_exposed_keys = models.BooleanField("revoke keys seen over plain HTTP", default=False)

    objects: ClassVar[models.Manager["Account"]] = AccountQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> AccountRef:
        return AccountRef(self.pk, self.slug, self.name)

    @property
    def target(self) -> Target:
        return Target("account", self.slug, self.name)


class MembershipQuerySet(AccountOwnedQuerySet["Membership"]):
    def visible_to(self, user: User) -> Self:
        """The user's memberships with their accounts, by name. Only its Owner sees a closed account."""
        open_to_them = models.Q(account__closed_at=None) | models.Q(role=Role.OWNER)
        return self.filter(open_to_them, user=user).select_related("account").order_by("account__name", "account_id")

    def with_two_factor(self) -> Self:
        """Annotate `has_two_factor`: whether the user has a second factor."""
        return self.annotate(has_two_factor=_second_factor())

    def without_two_factor(self) -> Self:
        return self.exclude(_second_factor())


def _second_factor() -> models.Exists:
    from allauth.mfa.models import Authenticator  # its models refer to `User`

    return models.Exists(Authenticator.objects.filter(user=models.OuterRef("user")))


class Membership(models.Model):
    """A user's role in an account. A user can have different roles in different accounts."""

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_membership_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=[(role.value, role.label) for role in Role])
    joined_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Membership"]] = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["joined_at", "id"]
        constraints = [
            models.UniqueConstraint("account", "user", name="membership_once_per_account"),
            models.UniqueConstraint(
                fields=["account"], condition=models.Q(role=Role.OWNER.value), name="membership_at_most_one_owner"
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]), name="membership_known_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()} of {self.account}"

    @property
    def target(self) -> Target:
        return Target("member", self.id, self.user.email)

    @property
    def needs_two_factor(self) -> bool:
        """Whether the account requires two-factor authentication of this member."""
        return self.account.requires_two_factor and self.role in TWO_FACTOR_ROLES


class InvitationQuerySet(AccountOwnedQuerySet["Invitation"]):
    def open(self) -> Self:
        """Invitations that were neither accepted nor withdrawn. An expired one can be sent again."""
        return self.filter(accepted_at=None, withdrawn_at=None)

    def pending(self) -> Self:
        """Invitations whose link works."""
        return self.open().filter(expires_at__gt=timezone.now())


class Invitation(models.Model):
    """A link in a mail that makes its recipient a member. Its token is stored as a digest."""

    class State(models.TextChoices):
        PENDING = "pending", "Pending"
        EXPIRED = "expired", "Expired"
        ACCEPTED = "accepted", "Accepted"
        WITHDRAWN = "withdrawn", "Withdrawn"

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_invitation_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="invitations")
    email = fields.EmailField("e-mail")
    role = models.CharField(max_length=10, choices=[(role.value, role.label) for role in Role if role != Role.OWNER])
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = fields.LineField(max_length=254, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(editable=False)
    accepted_at = models.DateTimeField(null=True, editable=False)
    withdrawn_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[models.Manager["Invitation"]] = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "email"],
                condition=models.Q(accepted_at=None, withdrawn_at=None),
                name="invitation_open_once",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=[Role.ADMIN.value, Role.USER.value]), name="invitation_known_role"
            ),
        ]
        indexes = [models.Index(fields=["email"], name="invitation_recipient")]

    def __str__(self) -> str:
        return f"{self.email} as {self.get_role_display()} of {self.account}"

    @property
    def target(self) -> Target:
        return Target("invitation", self.id, self.email)

    @property
    def state(self) -> State:
        if self.accepted_at is not None:
            return self.State.ACCEPTED
        if self.withdrawn_at is not None:
            return self.State.WITHDRAWN
        return self.State.PENDING if self.expires_at > timezone.now() else self.State.EXPIRED

    @property
    def is_acceptable(self) -> bool:
        """Whether its link works. Reads the account too, so fetch it with `select_related`."""
        return self.state == self.State.PENDING and self.account.closed_at is None
