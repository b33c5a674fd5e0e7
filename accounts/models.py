"""People, accounts and what an account owns, but for its keys."""

from datetime import datetime
from typing import Any, ClassVar, Never, Protocol, Self, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models.functions import Lower
from django.utils import timezone

from . import fields, ids
from .policy import TWO_FACTOR_ROLES, AccountRef, Role
from .targets import Target


class HasAccountId(Protocol):
    """An Account, or an `AccountRef` that stands for one."""

    @property
    def id(self) -> int: ...


M = TypeVar("M", bound=models.Model)


class AccountOwnedQuerySet(models.QuerySet[M]):
    """Rows that belong to an account: every view starts here and nowhere else."""

    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(account_id=account.id)


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Make a person who can sign in at once: the address counts as verified, for whoever calls this vouches for it.

        Raises `ValueError` without an address and `IntegrityError` for one that is taken.
        """
        from allauth.account.models import EmailAddress  # its models refer to this one

        if not email:
            raise ValueError("A person needs an e-mail address.")
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            EmailAddress.objects.using(self._db).create(user=user, email=user.email, verified=True, primary=True)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Make an operator, who may use Django admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Lower case throughout: no mail provider in use tells addresses apart by case."""
        return (email or "").strip().lower()

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=self.normalize_email(username))


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Signs in by e-mail; what they may do stands in their memberships."""

    email = fields.EmailField("e-mail", unique=True, error_messages={"unique": "A person with this address exists."})
    name = fields.LineField(max_length=100, blank=True)
    time_zone = models.CharField(max_length=64, blank=True, help_text="Left empty, that of their browser.")
    is_staff = models.BooleanField("operator", default=False, help_text="May use Django admin.")
    is_active = models.BooleanField(default=True, help_text="Switch off instead of deleting.")
    date_joined = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ["email"]
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_any_case")]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        self.email = User.objects.normalize_email(self.email)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email


class AccountQuerySet(models.QuerySet["Account"]):
    def of(self, user: User) -> Self:
        """The accounts a person is a member of."""
        return self.filter(memberships__user=user)

    def active(self) -> Self:
        """Neither closed nor suspended: those whose pages open."""
        return self.filter(closed_at=None, suspended_at=None)


class Account(models.Model):
    """The tenant. `slug` names it in URLs and never changes."""

    name = fields.LineField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    suspended_at = models.DateTimeField(null=True, blank=True, editable=False)
    max_key_lifetime_days = models.PositiveSmallIntegerField(
        "longest life of a key",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Days. Empty lets keys live for ever.",
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
    def seen_by(self, user: User) -> Self:
        """A person's memberships with their accounts, by name. A closed account is there for its Owner alone."""
        open_to_them = models.Q(account__closed_at=None) | models.Q(role=Role.OWNER)
        return self.filter(open_to_them, user=user).select_related("account").order_by("account__name", "account_id")

    def with_two_factor(self) -> Self:
        """Tells of each as `has_two_factor` whether the person signs in with a second factor."""
        return self.annotate(has_two_factor=_second_factor())

    def without_two_factor(self) -> Self:
        return self.exclude(_second_factor())


def _second_factor() -> models.Exists:
    from allauth.mfa.models import Authenticator  # its models refer to `User`

    return models.Exists(Authenticator.objects.filter(user=models.OuterRef("user")))


class Membership(models.Model):
    """A person's role in an account. A person may hold different roles in different accounts."""

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
        """Whether the account opens to this member only with two-factor."""
        return self.account.requires_two_factor and self.role in TWO_FACTOR_ROLES


class InvitationQuerySet(AccountOwnedQuerySet["Invitation"]):
    def open(self) -> Self:
        """Neither accepted nor withdrawn; perhaps expired, and then to be sent again."""
        return self.filter(accepted_at=None, withdrawn_at=None)

    def pending(self) -> Self:
        """Those whose link works."""
        return self.open().filter(expires_at__gt=timezone.now())


class Invitation(models.Model):
    """A link by mail that makes its reader a member. Its token is stored as a digest."""

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
        """Whether its link works. Needs the account at hand."""
        return self.state == self.State.PENDING and self.account.closed_at is None


class ProjectQuerySet(AccountOwnedQuerySet["Project"]):
    def known_as(self, public_id: str) -> Self:
        """The project that everybody knows by this id, in an account."""
        if ids.is_kept_id(public_id):
            return self.filter(kept_id=public_id)
        return self.filter(pk=public_id, kept_id=None)


class Project(models.Model):
    """What an account deploys.

    `kept_id` is the id that it had where it came from, if its team kept it; another account may have the same. People
    and programs know a project by its `public_id` alone.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_project_id, editable=False)
    kept_id = models.CharField(max_length=24, null=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="projects")
    name = fields.LineField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Project"]] = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["account", "kept_id"], name="project_kept_id_once_per_account")]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="project_newest"),
            models.Index(fields=["-created_at", "-id"], name="project_latest"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> Target:
        return Target("project", self.public_id, self.name)

    @property
    def public_id(self) -> str:
        return self.kept_id or self.id


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(project__account_id=account.id)


class Deployment(models.Model):
    """A revision of a project that went to a release stage.

    `user` is whom the client names; `recorded_by` is the key or person that recorded it.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_deployment_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="deployments")
    revision = fields.LineField(max_length=200)
    release_stage = fields.LineField(max_length=100, default="production")
    changes = fields.TextField(blank=True, max_length=65_536)
    user = fields.LineField(max_length=200, blank=True)
    recorded_by = fields.LineField(max_length=254, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Deployment"]] = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="deployment_newest"),
            models.Index(fields=["-created_at", "-id"], name="deployment_latest"),
        ]

    def __str__(self) -> str:
        return f"{self.revision} to {self.release_stage}"

    @property
    def target(self) -> Target:
        return Target("deployment", self.id, self.revision)


class AuditEventQuerySet(AccountOwnedQuerySet["AuditEvent"]):
    def matching(
        self,
        *,
        actor: str = "",
        event: str = "",
        target: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Self:
        """Events by actor and target, by name and by time: the filters of the page and of the API.

        An actor or a target is told by its id or a part of its label; `api_key` finds every `api_key.…`, as
        `audit.EVENT_CHOICES` says. `since` is included, `until` is not.
        """
        found = self
        if actor:
            found = found.filter(_named("actor", actor))
        if event:
            found = found.filter(models.Q(event=event) | models.Q(event__startswith=f"{event}."))
        if target:
            found = found.filter(_named("target", target))
        if since is not None:
            found = found.filter(at__gte=since)
        if until is not None:
            found = found.filter(at__lt=until)
        return found

    def forget(self) -> None:
        """Delete the events of an account whose grace period has passed; nothing else may."""
        self._raw_delete(self.db)

    def update(self, **fields: Any) -> Never:
        raise TypeError("Audit events are never changed.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("Audit events are never changed.")

    def delete(self) -> Never:
        raise TypeError("Audit events are never deleted.")


def _named(who: str, text: str) -> models.Q:
    """An id of ours is looked up as a whole, in an index; anything else may be a part of a label too.

    So may an id that a project brought along: a revision, which is a deployment's label, may look the same.
    """
    by_id = models.Q(**{f"{who}_id": text})
    return by_id if ids.is_id(text) else by_id | models.Q(**{f"{who}_label__icontains": text})


class AuditEvent(models.Model):
    """One thing an actor did. Written by `audit.record`, kept as long as the account, never changed."""

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_event_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="audit_events")
    at = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=40)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=24, blank=True)
    actor_label = fields.LineField(max_length=254)
    target_kind = models.CharField(max_length=20)
    target_id = models.CharField(max_length=60)
    target_label = fields.LineField(max_length=254)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=128, blank=True)
    changes = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    objects: ClassVar[models.Manager["AuditEvent"]] = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["account", "-at", "-id"], name="audit_event_newest"),
            models.Index(fields=["-at", "-id"], name="audit_event_latest"),
            models.Index(fields=["event", "-at", "-id"], name="audit_event_by_event"),
            models.Index(fields=["target_id", "account", "-at", "-id"], name="audit_event_by_target"),
            models.Index(fields=["actor_id", "-at", "-id"], name="audit_event_by_actor"),
            models.Index(fields=["request_id"], name="audit_event_by_request"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_label} {self.event} {self.target_label}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit events are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("Audit events are never deleted.")


class OutgoingMailQuerySet(models.QuerySet["OutgoingMail"]):
    def due(self) -> Self:
        """What is to be sent now, and is still wanted."""
        now = timezone.now()
        return self.filter(due_at__lte=now, expires_at__gt=now).order_by("due_at", "id")


class OutgoingMail(models.Model):
    """One mail to one address. Written by `outbox.add`, sent by `outbox.deliver`, kept for a while without its text.

    `due_at` is when it is tried next, null once it was sent or given up; a process that sends it moves `due_at` on.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        GIVEN_UP = "given_up", "Given up"

    recipient = fields.EmailField()
    subject = fields.LineField(max_length=400)
    kind = models.CharField(max_length=60)
    about = models.CharField(max_length=24, blank=True)
    text = fields.TextField(blank=True, editable=False)  # encrypted
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    due_at = models.DateTimeField("next try", null=True, default=timezone.now)
    tries = models.PositiveSmallIntegerField(default=0)
    error = fields.LineField("last error", max_length=300, blank=True)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["OutgoingMail"]] = OutgoingMailQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "outgoing mail"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="outgoing_mail_latest"),
            models.Index(fields=["recipient"], name="outgoing_mail_recipient"),
            models.Index(fields=["due_at", "id"], condition=models.Q(due_at__isnull=False), name="outgoing_mail_due"),
            models.Index(fields=["expires_at"], condition=~models.Q(text=""), name="outgoing_mail_with_text"),
            models.Index(fields=["kind", "about"], condition=~models.Q(text=""), name="outgoing_mail_about"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} to {self.recipient}"

    @property
    def state(self) -> State:
        if self.sent_at is not None:
            return self.State.SENT
        return self.State.WAITING if self.given_up_at is None else self.State.GIVEN_UP
