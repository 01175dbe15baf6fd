from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from apps.web import views

app_name = "web"
urlpatterns = [
    path("", views.sites, name="sites"),
    path("sites/<int:site_id>/", views.site, name="site"),
    path("sites/<int:site_id>/start/", views.start, name="start"),
    path("sites/<int:site_id>/stop/", views.stop, name="stop"),
    path(
        "login/",
        LoginView.as_view(
            template_name="web/login.html", redirect_authenticated_user=True
        ),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
]
