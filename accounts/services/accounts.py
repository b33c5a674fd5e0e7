"""Create, change, suspend, close and reopen accounts."""

from datetime import timedelta
from typing import NamedTuple, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.text import slugify

from .. import audit, mail
from ..audit import Event
from ..context import NO_REQUEST, RequestContext
from ..deletion import Checkpoint, in_batches, no_checkpoint
from ..errors import Invalid, InvalidState, NotPermitted
from ..models import Account, AuditEvent, Membership, User
from ..policy import AccountRef, Actor, ActorKind, Permission, Role
from .changes import apply_changes, lock_account, lock_actor

#: How long the Owner can reopen a closed account, before its data is deleted.
GRACE_PERIOD = timedelta(days=30)

#: Words that page URLs use in place of a slug: `/accounts/new/`.
RESERVED_SLUGS = frozenset({"new"})


class Initiator(NamedTuple):
    """Who does something outside any account: an `Actor` without the account."""

    kind: ActorKind
    id: str
    label: str
    context: RequestContext = NO_REQUEST

    def actor_in(self, account: AccountRef) -> Actor:
        return Actor(self.kind, self.id, self.label, account, frozenset(Permission), context=self.context)


SYSTEM = Initiator(ActorKind.SYSTEM, "", "System")


def _free_slug(name: str) -> str:
    """An unused slug from the name, with a number if it is taken."""
    stem = slugify(name)[:50].strip("-") or "account"
    slug, number = stem, 1
    while slug in RESERVED_SLUGS or Account.objects.filter(slug=slug).exists():
        number += 1
        slug = f"{stem}-{number}"
    return slug


def _insert(name: str) -> Account:
    while True:
        try:
            with transaction.atomic():
                return Account.objects.create(name=name, slug=_free_slug(name))
        except IntegrityError:  # another transaction took the slug meanwhile
            continue


@transaction.atomic
def create_account(*, name: str, owner: User, by: Initiator = SYSTEM) -> Account:
    """Create an account with its Owner. The account has no actors yet, so `by` says who creates it."""
    name = name.strip()
    if not name:
        raise Invalid("An account needs a name.", errors={"name": ["This field may not be blank."]})
    account = _insert(name)
    membership = Membership.objects.create(account=account, user=owner, role=Role.OWNER.value)
    actor = by.actor_in(account.ref)
    audit.record(actor=actor, event=Event.ACCOUNT_CREATED, target=account.target)
    audit.record(
        actor=actor, event=Event.MEMBER_ADDED, target=membership.target, changes={"role": (None, membership.role)}
    )
    return account


class AccountSettings(TypedDict, total=False):
    """The settings of an account that can change. Its slug can't, because links use it."""

    name: str
    max_key_lifetime_days: int | None
    accepts_query: bool
    accepts_body: bool
    revoke_exposed_keys: bool
    requires_two_factor: bool


@transaction.atomic
def change_account(*, actor: Actor, **settings: Unpack[AccountSettings]) -> Account:
    """Change settings of the actor's account. A shorter maximum lifetime doesn't change existing keys.

    Raises `NotPermitted` if a key changes whether two-factor authentication is required: that concerns people.
    """
    actor = lock_actor(actor, Permission.ACCOUNT_CHANGE)
    if actor.kind == ActorKind.KEY and "requires_two_factor" in settings:
        raise NotPermitted("A key can't change whether two-factor is required.")
    account = lock_account(actor)
    if changes := apply_changes(account, **settings):
        account.save(update_fields=changes)
        audit.record(actor=actor, event=Event.ACCOUNT_CHANGED, target=account.target, changes=changes)
    return account


@transaction.atomic
def suspend_account(*, actor: Actor) -> Account:
    """Suspend the account, as the operator: its keys get 403 until it is resumed."""
    return _set_suspended(actor, Event.ACCOUNT_SUSPENDED)


@transaction.atomic
def resume_account(*, actor: Actor) -> Account:
    """End a suspension."""
    return _set_suspended(actor, Event.ACCOUNT_RESUMED)


def _set_suspended(actor: Actor, event: Event) -> Account:
    account = lock_account(actor)
    suspend = event == Event.ACCOUNT_SUSPENDED
    if suspend == (account.suspended_at is not None):
        raise InvalidState(f"{account.name} is {'already' if suspend else 'not'} suspended.")
    account.suspended_at = timezone.now() if suspend else None
    account.save(update_fields=["suspended_at"])
    audit.record(actor=actor, event=event, target=account.target)
    return account


@transaction.atomic
def close_account(*, actor: Actor, name: str) -> Account:
    """Close the account: its keys and its pages stop working immediately.

    `name` is the account's name, typed as a confirmation; raises `Invalid` for another. The Owner can reopen the
    account during `GRACE_PERIOD`; then `prune_closed` deletes all of it.
    """
    actor = lock_actor(actor, Permission.ACCOUNT_CLOSE)
    account = lock_account(actor)
    if account.closed_at is not None:
        raise InvalidState(f"{account.name} is already closed.")
    if name.strip() != account.name:
        raise Invalid("This is not the account's name.", errors={"name": ["Enter the account name exactly as shown."]})
    account.closed_at = timezone.now()
    account.save(update_fields=["closed_at"])
    audit.record(actor=actor, event=Event.ACCOUNT_CLOSED, target=account.target)
    mail.notify(
        mail.member_addresses(account), "account_closed", account=account, until=account.closed_at + GRACE_PERIOD
    )
    return account


@transaction.atomic
def reopen_account(*, actor: Actor) -> Account:
    """Reopen a closed account with all its data."""
    actor = lock_actor(actor, Permission.ACCOUNT_CLOSE)
    account = lock_account(actor)
    if account.closed_at is None:
        raise InvalidState(f"{account.name} is not closed.")
    account.closed_at = None
    account.save(update_fields=["closed_at"])
    audit.record(actor=actor, event=Event.ACCOUNT_REOPENED, target=account.target)
    return account


def prune_closed(checkpoint: Checkpoint = no_checkpoint) -> int:
    """Delete accounts after their grace period, with their audit events; return how many."""
    gone = Account.objects.filter(closed_at__lte=timezone.now() - GRACE_PERIOD)
    return sum(_prune(gone, pk, checkpoint) for pk in gone.values_list("pk", flat=True))


@transaction.atomic
def _prune(gone: QuerySet[Account], pk: int, checkpoint: Checkpoint) -> bool:
    """Delete one of these accounts. False if it was reopened or deleted meanwhile."""
    account = gone.select_for_update().filter(pk=pk).first()
    if account is None:
        return False
    for events in in_batches(AuditEvent.objects.for_account(account), checkpoint):
        events.delete_permanently()
    account.delete()
    return True
