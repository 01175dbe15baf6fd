"""The way in, counted per address together with the API's login."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth import views
from django.contrib.auth.forms import AuthenticationForm

from apps.core.permissions import ThrottleByAddress

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from rest_framework.request import Request
    from rest_framework.views import APIView

TOO_MANY = 429


class LoginView(views.LoginView):
    template_name = "web/login.html"
    redirect_authenticated_user = True
    throttle_scope = "login"  # one counter for both doors, see apps.core.tokens

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401 (Django's own)
        throttle = ThrottleByAddress()
        is_allowed = throttle.allow_request(
            cast("Request", request), cast("APIView", self)
        )
        if is_allowed:
            return super().post(request, *args, **kwargs)
        wait_s = math.ceil(throttle.wait() or 1)
        # An empty form: the one that was sent would look the password up.
        context = self.get_context_data(form=AuthenticationForm(request), wait_s=wait_s)
        response = self.render_to_response(context, status=TOO_MANY)
        response.headers["Retry-After"] = str(wait_s)
        return response
