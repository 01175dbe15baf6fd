"""The forms of a site and its connection; the rules are those of `apps.sites.forms`."""

from __future__ import annotations

from typing import Any, ClassVar
from zoneinfo import available_timezones

from django import forms
from django.core.validators import MaxLengthValidator
from django.forms import BaseInlineFormSet, inlineformset_factory
from django.utils.translation import gettext_lazy as _

from apps.sites.forms import ConnectionForm, TopicFormSet
from apps.sites.models import MqttConnection, MqttTopic, Site
from apps.sites.serializers import MAX_PEM, MAX_TOPICS
from apps.sites.trials import Given

ROWS = {"rows": 4, "spellcheck": "false", "autocomplete": "off"}
PLAIN = {"spellcheck": "false", "autocapitalize": "off", "autocomplete": "off"}


class SettingsForm(ConnectionForm):
    """A connection's settings, with the fields in the order of the page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Django's)
        super().__init__(*args, **kwargs)
        for name in ("broker_host", "username", "client_id_prefix", "tls_server_name"):
            self.fields[name].widget.attrs |= PLAIN
        for name in ("tls_ca", "tls_client_cert", "tls_client_key"):
            self.fields[name].widget.attrs |= ROWS
            self.fields[name].validators.append(MaxLengthValidator(MAX_PEM))
        self.fields["clean_session"].help_text = _(
            "Live only: what is published while we are away is lost."
        )
        clean = self.fields["clean_session"].widget
        clean.choices = [
            ("unknown", _("as the server is set up")),
            ("true", _("yes: live only")),
            ("false", _("no: nothing is lost while we are away")),
        ]

    def given(self, topics: TopicFormSet) -> Given:
        """Return the form's settings as what a test takes."""
        return Given(
            self.instance.site_id,
            self.settings(),
            password=self.new_password(),
            tls_client_key=self.new_tls_client_key(),
            topics=topics.topics(),
        )


class TopicForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at runtime
    class Meta:
        model = MqttTopic
        fields: ClassVar = ["pattern", "qos", "is_active"]
        widgets: ClassVar = {"pattern": forms.TextInput(attrs=PLAIN)}


def topics_of(
    connection: MqttConnection,
    data: Any = None,  # noqa: ANN401 (Django's own)
) -> BaseInlineFormSet[Any, Any, Any]:
    """Return the filters of a connection as rows, one empty one below them."""
    made = inlineformset_factory(
        MqttConnection,
        MqttTopic,
        form=TopicForm,
        formset=TopicFormSet,
        extra=1,
        max_num=MAX_TOPICS,
        validate_max=True,
    )
    return made(data, instance=connection, prefix="topics")


class SiteForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at runtime
    class Meta:
        model = Site
        fields: ClassVar = [
            "name",
            "code",
            "timezone",
            "visibility",
            "latitude",
            "longitude",
        ]
        widgets: ClassVar = {
            "code": forms.TextInput(attrs=PLAIN),
            "timezone": forms.TextInput(attrs={**PLAIN, "list": "zones"}),
        }
        help_texts: ClassVar = {
            "code": _(
                "The first level of the site's topics. Empty: one is made from the "
                "site's number."
            ),
            "timezone": _("Such as Europe/Rome: that of times without a zone."),
            "visibility": _("Members are named on the page of these settings."),
        }


def zones() -> list[str]:
    """Return the time zones that people know by name."""
    return sorted(
        zone for zone in available_timezones() if "/" in zone or zone == "UTC"
    )
