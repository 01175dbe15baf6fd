"""Login over the API: simplejwt's two views, counted per address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from apps.core.permissions import ThrottleByAddress
from apps.core.schema import errors

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response


class CredentialsSerializer(serializers.Serializer[Any]):
    username = serializers.CharField()
    password = serializers.CharField(trim_whitespace=False)


class TokenPairSerializer(serializers.Serializer[Any]):
    access = serializers.CharField(help_text="For the Authorization header.")
    refresh = serializers.CharField(help_text="Buys a new access token later.")


class AccessTokenSerializer(serializers.Serializer[Any]):
    access = serializers.CharField()


class LoginSerializer(TokenObtainPairSerializer):
    """Take the password as it is: simplejwt would cut the spaces around it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (DRF's signature)
        super().__init__(*args, **kwargs)
        self.fields["password"] = serializers.CharField(
            write_only=True, trim_whitespace=False
        )


class TokenView(TokenObtainPairView):
    serializer_class = LoginSerializer
    throttle_classes = (ThrottleByAddress,)
    throttle_scope = "login"

    @extend_schema(
        summary="Log in",
        request=CredentialsSerializer,
        auth=[],
        responses={200: TokenPairSerializer, **errors(400, 401, 429)},
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 (DRF's signature)
        return super().post(request, *args, **kwargs)


class RefreshView(TokenRefreshView):
    throttle_classes = (ThrottleByAddress,)
    throttle_scope = "login"

    @extend_schema(
        summary="Get a new access token",
        auth=[],
        responses={200: AccessTokenSerializer, **errors(400, 401, 429)},
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 (DRF's signature)
        try:
            return super().post(request, *args, **kwargs)
        except get_user_model().DoesNotExist as error:
            message = "The token's user is gone"
            raise InvalidToken(message) from error
