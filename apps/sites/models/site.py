"""Sites and their members: who may see what, and operate it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
)
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

# A code is the first level of the site's topics, so it is one plain level.
validate_code = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z",
    _(
        "Use letters, digits, '_', '-' and '.', at most 64; "
        "start with a letter or digit"
    ),
)


def validate_timezone(value: str) -> None:
    if value not in available_timezones():
        message = _("'%(value)s' is not a time zone; use a name such as Europe/Rome")
        raise ValidationError(message, params={"value": value})


class Visibility(models.TextChoices):
    ALL_USERS = "all_users", _("All users")
    MEMBERS = "members", _("Members only")


class SiteQuerySet(models.QuerySet["Site"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> SiteQuerySet:
        """Keep the sites that this user may read; for others a site is not there."""
        if not user.is_authenticated:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(
            Q(visibility=Visibility.ALL_USERS)
            | Q(pk__in=SiteMember.objects.filter(user_id=user.pk).values("site"))
        )


class Site(models.Model):
    """A place with devices and its own broker connection."""

    name = models.CharField(_("name"), max_length=200)
    code = models.CharField(
        _("code"), max_length=64, unique=True, blank=True, validators=[validate_code]
    )
    timezone = models.CharField(
        _("time zone"), max_length=64, default="UTC", validators=[validate_timezone]
    )
    latitude = models.FloatField(
        _("latitude"),
        null=True,
        blank=True,
        validators=[MinValueValidator(-90), MaxValueValidator(90)],
    )
    longitude = models.FloatField(
        _("longitude"),
        null=True,
        blank=True,
        validators=[MinValueValidator(-180), MaxValueValidator(180)],
    )
    visibility = models.CharField(
        _("visibility"),
        max_length=16,
        choices=Visibility.choices,
        default=Visibility.ALL_USERS,
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name = _("site")
        verbose_name_plural = _("sites")
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Django's own)
        """Store the site; without a code it gets `site_%03d` of its id."""
        if self.code:
            super().save(*args, **kwargs)
            return
        with transaction.atomic():
            self.code = uuid4().hex  # unique until the id is known
            super().save(*args, **kwargs)
            self.code = f"site_{self.pk:03d}"
            if Site.objects.filter(code=self.code).exists():
                self.code = f"{self.code}_{uuid4().hex[:6]}"
            super().save(update_fields=["code"])


class MemberRole(models.TextChoices):
    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator: may start and stop")


class SiteMember(models.Model):
    """A user who may read a members-only site; an operator may also control it."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="members")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="site_memberships"
    )
    role = models.CharField(
        max_length=16, choices=MemberRole.choices, default=MemberRole.VIEWER
    )

    class Meta:
        verbose_name = _("site member")
        verbose_name_plural = _("site members")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["site", "user"], name="one_role_per_site")
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.site} · {self.role}"
