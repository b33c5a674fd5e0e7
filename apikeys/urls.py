from django.urls import URLPattern, include, path

from .views import keys, services

app_name = "apikeys"

key_pages: list[URLPattern] = [
    path("", keys.keys, name="keys"),
    path("new/", keys.new_key, name="new_key"),
    path("summary/", keys.key_summary, name="key_summary"),
    path("import/", keys.import_keys, name="import_keys"),
    path("revoke/", keys.revoke_keys, name="revoke_keys"),
    path("<id:id>/", keys.key, name="key"),
    path("<id:id>/edit/", keys.edit_key, name="edit_key"),
    path("<id:id>/rotate/", keys.rotate_key, name="rotate_key"),
    path("<id:id>/disable/", keys.disable_key, name="disable_key"),
    path("<id:id>/enable/", keys.enable_key, name="enable_key"),
    path("<id:id>/revoke/", keys.revoke_key, name="revoke_key"),
]

service_pages: list[URLPattern] = [
    path("", services.services, name="services"),
    path("new/", services.new_service, name="new_service"),
    path("<id:id>/", services.service, name="service"),
    path("<id:id>/connection/", services.connection, name="connection"),
    path("<id:id>/configuration/<slug:gateway>/", services.configuration, name="configuration"),
    path("<id:id>/configuration/<slug:gateway>/<str:file>/", services.configuration, name="configuration_file"),
    path("<id:id>/edit/", services.edit_service, name="edit_service"),
    path("<id:id>/delete/", services.delete_service, name="delete_service"),
]

urlpatterns = [
    path("settings/api-keys/", include(key_pages)),
    path("services/", include(service_pages)),
]
