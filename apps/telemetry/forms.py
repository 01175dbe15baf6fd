"""The admin's form of a mapping: checked by the same rules as everywhere."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.telemetry.mapping_values import MappingInvalidError
from apps.telemetry.mappings import FIELDS, clean, is_taken
from apps.telemetry.models import TopicMapping

EXAMPLE = (
    '[{"path": "$.temp", "key": "t_ext", "label": "Outside", "type": "temperature", '
    '"unit": "°C", "scale": 0.1, "offset": 0}]'
)


class MappingForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at runtime
    values = forms.JSONField(
        widget=forms.Textarea(attrs={"rows": 12, "placeholder": EXAMPLE}),
        help_text=_(
            "A list of path and key, and perhaps label, type, unit, scale and offset."
        ),
    )

    class Meta:
        model = TopicMapping
        fields: ClassVar = ["site", *FIELDS]
        widgets: ClassVar = {"topic": forms.TextInput(attrs={"class": "vTextField"})}

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return data
        site = data.get("site") or self.instance.site
        chosen = {name: data[name] for name in FIELDS if name in data}
        row = TopicMapping(pk=self.instance.pk, site=site, **chosen)
        try:
            clean(row)
        except MappingInvalidError as error:
            for name, problems in error.fields.items():
                field = self._field_of(name)
                self.add_error(field, [f"{name}: {problem}" for problem in problems])
        else:
            if is_taken(row):
                self.add_error(None, _("There is a mapping for this already"))
        return data

    def _field_of(self, name: str) -> str | None:
        field = name.split(".")[0] if name.startswith("values") else name
        field = field.replace("datalogger.", "datalogger_")
        return field if field in self.fields else None
