"""Who is a member of a site, and as what: the changes that a superuser makes."""

from __future__ import annotations

from typing import NoReturn

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.sites.models import MemberRole, Site, SiteMember


class MemberInvalidError(DomainError):
    """Somebody who cannot be a member, or a role that there is not."""

    code = "invalid"
    status = 400

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem, fields={field: [problem]})


def _refuse(field: str, problem: str) -> NoReturn:
    raise MemberInvalidError(field, problem)


def member_add(site: Site, *, username: str, role: str) -> SiteMember:
    """Make somebody a member.

    Raises:
        MemberInvalidError: says why not, by field.
    """
    user = _addable(username.strip())
    row, is_new = SiteMember.objects.get_or_create(
        site=site, user=user, defaults={"role": _role(role)}
    )
    if not is_new:
        text = _("'%s' is a member already; change the role in the list")
        _refuse("username", text % user.username)
    return row


def _addable(name: str) -> User:
    """Return the user of that name, if being a member makes a difference."""
    if not name:
        _refuse("username", _("Whose name? Write a user name"))
    user = None if "\0" in name else User.objects.filter(username=name).first()
    if user is None:
        text = _("Nobody here is called '%s'; users are made in the administration")
        _refuse("username", text % name[:150])
    if user.is_superuser:
        text = _("'%s' is an administrator, who may do everything at every site")
        _refuse("username", text % name)
    if not user.is_active:
        _refuse("username", _("'%s' is switched off and cannot log in") % name)
    return user


def member_change(site: Site, *, member_id: int, role: str) -> bool:
    """Give a member another role; False if it is no member any more.

    Raises:
        MemberInvalidError: there is no such role.
    """
    rows = SiteMember.objects.filter(site=site, pk=member_id)
    return bool(rows.update(role=_role(role)))


def member_remove(site: Site, *, member_id: int) -> bool:
    """End a membership; False if it had ended already."""
    return bool(SiteMember.objects.filter(site=site, pk=member_id).delete()[0])


def members_of(site: Site) -> QuerySet[SiteMember]:
    """Return the members with their users, by name."""
    return (
        SiteMember.objects.filter(site=site)
        .select_related("user")
        .order_by("user__username")
    )


def candidates(site: Site) -> QuerySet[User]:
    """Return who could become a member, by name."""
    rows = User.objects.filter(is_active=True, is_superuser=False)
    return rows.exclude(site_memberships__site=site).order_by("username")


def _role(text: str) -> MemberRole:
    if text not in MemberRole.values:
        _refuse("role", _("Choose a role"))
    return MemberRole(text)
