"""The admin's form of a connection: secrets go in and never come out."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.core.crypto import SecretUnreadableError
from apps.sites.hosts import problem_with_host
from apps.sites.models import MqttConnection
from apps.sites.services import TopicSetting
from apps.sites.tls import (
    problem_with_certificates,
    problem_with_key,
    problem_with_pair,
)


def _raise(problem: str | Promise | None) -> None:
    if problem:
        raise ValidationError(str(problem))


class ConnectionForm(forms.ModelForm):  # type: ignore[type-arg]
    password = forms.CharField(
        label=_("Password"),
        required=False,
        strip=False,
        max_length=1_024,
        widget=forms.PasswordInput(
            render_value=False, attrs={"autocomplete": "new-password"}
        ),
        help_text=_("Never shown. Leave blank to keep the stored one."),
    )
    remove_password = forms.BooleanField(label=_("Remove password"), required=False)
    tls_client_key = forms.CharField(
        label=_("Client private key (PEM)"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "autocomplete": "off"}),
        help_text=_("Never shown. Leave blank to keep the stored one."),
    )

    class Meta:
        model = MqttConnection
        fields: ClassVar = [
            "broker_host",
            "broker_port",
            "username",
            "client_id_prefix",
            "protocol",
            "keepalive",
            "clean_session",
            "use_tls",
            "tls_ca",
            "tls_client_cert",
            "tls_server_name",
        ]

    def clean_broker_host(self) -> str:
        host: str = self.cleaned_data["broker_host"]
        if host or self.instance.is_enabled:
            _raise(problem_with_host(host))
        return host

    def clean_client_id_prefix(self) -> str:
        prefix: str = self.cleaned_data["client_id_prefix"]
        if any(letter.isspace() or not letter.isprintable() for letter in prefix):
            _raise(_("A client id holds no spaces and no control characters"))
        return prefix

    def clean_tls_server_name(self) -> str:
        name: str = self.cleaned_data["tls_server_name"]
        if name:
            _raise(problem_with_host(name))
        return name

    def clean_tls_ca(self) -> str:
        return self._clean_certificates("tls_ca")

    def clean_tls_client_cert(self) -> str:
        return self._clean_certificates("tls_client_cert")

    def _clean_certificates(self, name: str) -> str:
        pem: str = self.cleaned_data[name]
        if pem:
            _raise(problem_with_certificates(pem))
        return pem

    def clean_tls_client_key(self) -> str:
        pem: str = self.cleaned_data["tls_client_key"]
        if pem:
            _raise(problem_with_key(pem))
        return pem

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("password") and cleaned.get("remove_password"):
            self.add_error(
                "remove_password", _("Either enter a new password or remove it")
            )
        pair = {"tls_client_cert", "tls_client_key"}
        if pair <= cleaned.keys() and pair & set(self.changed_data):
            self._check_pair(cleaned["tls_client_cert"], cleaned["tls_client_key"])
        return cleaned

    def _check_pair(self, certificate: str, new_key: str) -> None:
        try:
            key = new_key or self.instance.read_tls_client_key()
        except SecretUnreadableError as error:
            self.add_error("tls_client_key", str(error))
            return
        problem = problem_with_pair(certificate, key if certificate else new_key)
        if problem:
            self.add_error("tls_client_key", str(problem))

    def settings(self) -> dict[str, Any]:
        """Return the row's own fields as they are to be stored."""
        return {name: self.cleaned_data[name] for name in ConnectionForm.Meta.fields}

    def new_password(self) -> str | None:
        """Return the password to store, "" to remove it, None to keep it."""
        if self.cleaned_data["remove_password"]:
            return ""
        return self.cleaned_data["password"] or None

    def new_tls_client_key(self) -> str | None:
        """Return the key to store; it leaves with its certificate."""
        if not self.cleaned_data["tls_client_cert"]:
            return ""
        return self.cleaned_data["tls_client_key"] or None


class TopicFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """The filters of a connection: at least one, none of them twice."""

    def clean(self) -> None:
        super().clean()
        patterns = [topic.pattern for topic in self.topics()]
        if not patterns and not any(self.errors):
            raise ValidationError(_("A connection needs at least one topic"))
        for pattern in patterns:
            if patterns.count(pattern) > 1:
                message = _("Pattern '%(pattern)s' is there twice")
                raise ValidationError(message, params={"pattern": pattern})

    def topics(self) -> list[TopicSetting]:
        """Return the filters as the form wants them from now on."""
        return [
            TopicSetting(
                pattern=form.cleaned_data["pattern"],
                qos=form.cleaned_data["qos"],
                is_active=form.cleaned_data["is_active"],
            )
            for form in self.forms
            if getattr(form, "cleaned_data", {}).get("pattern")
            and not form.cleaned_data.get("DELETE")
        ]
