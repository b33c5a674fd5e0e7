"""What each field of a body means, for those who call the API. The help texts of models are for forms. Pure.

A filter has its meaning in its `help_text`. Other fields have no `help_text`, because it wouldn't be shown.
"""

#: By serializer and field, or by field alone where it means the same everywhere.
MEANINGS = {
    "id": "The id. It never changes, and no other item ever gets it.",
    "name": "A name for people.",
    "created_at": "When it was created.",
    "role": "`owner`, `admin` or `user`.",
    "limit": "Requests that the key may send in a window.",
    "remaining": "Requests that are left in this window.",
    "window": "The length of a window in seconds.",
    "status": "What happened to it.",
    "results": "One result for each item, in the order of the request.",
    # API keys
    "APIKey.name": "What uses the key.",
    "APIKey.description": "Further notes, in several lines if needed.",
    "permission": "`read` allows GET and HEAD, `write` all other methods, `read_write` both.",
    "administrator": "Whether the key has administrator access, which includes members, keys and the audit log.",
    "APIKey.mask": "The key's beginning and end, to recognize it by.",
    "state": "`active`, `disabled`, `expired` or `revoked`.",
    "disabled": "Whether the key is refused until it is enabled again.",
    "expires_at": "When it expires, in UTC. Null is never.",
    "Invitation.expires_at": "When its link stops working.",
    "allowed_networks": "The networks (CIDR) from which the key works. An empty list means every network.",
    "rate_limit": "The key's own limit, such as `100/minute` or `5000/hour`. Null means this server's default.",
    "WhoAmI.rate_limit": "The key's limit and what is left of it. Null while limits are unavailable.",
    "APIKey.accepts_query": "Whether the key may be sent in the query string. URLs are often logged.",
    "APIKey.accepts_body": "Whether the key may be sent in the body.",
    "access": "What the key may use. Null means this API and every service, including later ones. A list has "
    "services, each whole or by paths, and `api` for this API. An empty list allows only `/v2` itself.",
    "created_by": "The member, key or command that created it.",
    "last_used_at": "When the key was last used. Null is never.",
    "last_used_from": "The address that last used it.",
    "rotated_from": "The id of the key that this one replaces.",
    "IssuedAPIKey.key": "The key itself. No other response has it, so store it.",
    "overlap": "How long the old key keeps working. With `none` it stops at once.",
    "ids": "The ids of the keys.",
    "Revoked.id": "The id as it was sent. Null for a text that can't be an id.",
    "Revoked.Message": "Why the key was not revoked.",
    "api_keys": "The keys to import.",
    "ImportedAPIKey.digest": "SHA-256 of the key, as 64 hexadecimal digits.",
    "ImportedAPIKey.mask": "The key's beginning and end, as people see it.",
    "Imported.id": "The key's id. Null if it was refused.",
    "Imported.Message": "Why the key was refused.",
    "Imported.Errors": "The invalid fields, each with what to change.",
    # Account
    "slug": "The account's name in URLs.",
    "Account.name": "The account's name.",
    "max_key_lifetime_days": "The longest lifetime of a new key in days. If null, keys need not expire.",
    "Account.accepts_query": "Whether any key of the account may be sent in the query string.",
    "Account.accepts_body": "Whether any key of the account may be sent in the body.",
    "revoke_exposed_keys": "Whether a key that was sent over plain HTTP is revoked at once.",
    "requires_two_factor": "Whether Owner and Admins need a second factor. No key can change it.",
    # Projects and deployments
    "Project.name": "The project's name.",
    "NewProject.id": "An id of Atatus that the project keeps: 24 hexadecimal characters. By default, the id is new.",
    "revision": "The version that was deployed, such as a commit's hash.",
    "release_stage": "Where it was deployed.",
    "changes": "Each changed field, with its value before and after.",
    "Deployment.changes": "What is new in this version. A key in the text is masked.",
    "user": "Who deployed it.",
    # Services
    "Service.name": "The service's name.",
    "reading_methods": "The methods that need the Read permission. All others need Write.",
    "reading_paths": "Paths where every method counts as reading. `/search/*` matches `/search` and all paths below "
    "it.",
    "preflight": "Whether a browser's CORS preflight, which never has a key, passes.",
    "query_keys": "Whether a key is accepted in the service's own query string. It is then in the service's logs.",
    "gateways": "The addresses or networks (CIDR) from which authorization requests are accepted.",
    "upstream": "Where the service listens. It fills in configurations and is never contacted.",
    "shared": "Whether the keys of every account are accepted.",
    "last_question_at": "When a gateway last asked, even if it was refused. Null is never.",
    # Members and invitations
    "email": "The e-mail address.",
    "Member.name": "The person's name.",
    "joined_at": "When they became a member.",
    # Audit events
    "at": "When it happened.",
    "event": "What happened: a subject and a verb in the past tense.",
    "actor": "Who did it: a person, a key or the system.",
    "target": "The item that was changed.",
    "address": "The address that the change was made from.",
    "request_id": "The request's `X-Request-ID`.",
    # Usage
    "day": "The day in UTC.",
    "Usage.api_key": "The key.",
    "service": "The id of a service, or `api` for this API.",
    "requests": "All requests of that day.",
    "succeeded": "Requests with a status below 400.",
    "client_errors": "Requests with a status of 4xx except 429.",
    "throttled": "Requests with the status 429.",
    "server_errors": "Requests with a status of 5xx.",
    "WhoAmI.account": "The key's account.",
    "WhoAmI.api_key": "The key that sent the request.",
    # Reports of leaked keys
    "credentials": "The keys that were found.",
    "Message": "What was done, in a sentence.",
    # The description
    "openapi": "The version of OpenAPI.",
    "info": "The title and version of the API.",
    "servers": "This server's address.",
    "tags": "The resources.",
    "paths": "The operations.",
    "components": "What several operations share.",
}


def meaning(serializer: type, field: str) -> str:
    """What a field of a serializer means: the text for its class or a base class, or else the text for all."""
    names = [f"{kind.__name__.removesuffix('Serializer')}.{field}" for kind in serializer.__mro__]
    return next((MEANINGS[name] for name in (*names, field) if name in MEANINGS), "")
