"""Every change to a key and to a service behind the keys: the pages, the API, the commands and admin all come here."""

from .imports import ImportedKey, import_keys
from .keys import SETTINGS, Issued, Options, Settings, change, disable, enable, issue, widens
from .revocation import expire, expose, report, revoke, revoke_all
from .rotation import Overlap, rotate
from .rules import require_known_services
from .services import (
    SERVICE_SETTINGS,
    ServiceSettings,
    change_service,
    create_service,
    delete_service,
    require_may_change,
    widens_service,
)

__all__ = [
    "SERVICE_SETTINGS",
    "SETTINGS",
    "ImportedKey",
    "Issued",
    "Options",
    "Overlap",
    "ServiceSettings",
    "Settings",
    "change",
    "change_service",
    "create_service",
    "delete_service",
    "disable",
    "enable",
    "expire",
    "expose",
    "import_keys",
    "issue",
    "report",
    "require_known_services",
    "require_may_change",
    "revoke",
    "revoke_all",
    "rotate",
    "widens",
    "widens_service",
]
