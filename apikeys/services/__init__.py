"""All changes to keys and services. Pages, the API, commands and admin call these functions."""

from .imports import Imported, ImportedKey, import_api_keys, import_valid_api_keys
from .keys import (
    SETTINGS,
    Issued,
    Options,
    Settings,
    change_api_key,
    create_api_key,
    disable_api_key,
    enable_api_key,
    widens_api_key,
)
from .revocation import expire_api_key, flag_exposed_key, report_leaked_keys, revoke_api_key, revoke_api_keys
from .rotation import Overlap, rotate_api_key
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
    "Imported",
    "ImportedKey",
    "Issued",
    "Options",
    "Overlap",
    "ServiceSettings",
    "Settings",
    "change_api_key",
    "change_service",
    "create_api_key",
    "create_service",
    "delete_service",
    "disable_api_key",
    "enable_api_key",
    "expire_api_key",
    "flag_exposed_key",
    "import_api_keys",
    "import_valid_api_keys",
    "report_leaked_keys",
    "require_known_services",
    "require_may_change",
    "revoke_api_key",
    "revoke_api_keys",
    "rotate_api_key",
    "widens_api_key",
    "widens_service",
]
