from django.urls import path

from . import views

app_name = "apikeys"

urlpatterns = [
    path("", views.keys, name="keys"),
    path("new/", views.new_key, name="new_key"),
    path("<id:id>/revoke/", views.revoke_key, name="revoke_key"),
]
