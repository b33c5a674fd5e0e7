from django.urls import path

from . import views

urlpatterns = [
    path("api-keys", views.APIKeysView.as_view()),
    path("api-keys/<id:key_id>", views.APIKeyView.as_view()),
]
