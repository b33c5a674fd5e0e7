"""Headers that announce a key's expiry to programs: `Deprecation` (RFC 9745) and `Sunset` (RFC 8594)."""

from datetime import UTC, datetime, timedelta

from django.utils.http import http_date

from apikeys.lookup import KeyRecord

WARNING_PERIOD = timedelta(days=7)


def headers(key: KeyRecord) -> dict[str, str]:
    """The headers for this key.

    Empty unless the key expires, and was rotated or expires within 7 days. A key becomes deprecated at its rotation, or
    7 days before it expires.
    """
    if key.expiry is None:
        return {}
    since = key.rotation or key.expiry - WARNING_PERIOD
    if since > datetime.now(UTC):
        return {}
    return {"Deprecation": f"@{int(since.timestamp())}", "Sunset": http_date(key.expiry.timestamp())}
