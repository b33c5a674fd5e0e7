from django.urls import path

from .views import keys as views

app_name = "apikeys"

urlpatterns = [
    path("", views.keys, name="keys"),
    path("new/", views.new_key, name="new_key"),
    path("import/", views.import_keys, name="import_keys"),
    path("revoke/", views.revoke_keys, name="revoke_keys"),
    path("<id:id>/", views.key, name="key"),
    path("<id:id>/edit/", views.edit_key, name="edit_key"),
    path("<id:id>/rotate/", views.rotate_key, name="rotate_key"),
    path("<id:id>/disable/", views.disable_key, name="disable_key"),
    path("<id:id>/enable/", views.enable_key, name="enable_key"),
    path("<id:id>/revoke/", views.revoke_key, name="revoke_key"),
]
