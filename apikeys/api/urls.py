from django.urls import path

from . import views

urlpatterns = [
    path("api-keys", views.APIKeysView.as_view()),
    path("api-keys/<id:key_id>", views.APIKeyView.as_view()),
    path("api-keys/<id:key_id>/rotate", views.RotateView.as_view()),
    path("usage", views.UsageView.as_view()),
    path("leaked-keys", views.LeakedKeysView.as_view()),
]
