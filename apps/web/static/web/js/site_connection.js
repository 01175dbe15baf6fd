// Settings of a connection: further rows for filters, and a test before saving.

import "./site_form.js";

document.addEventListener("click", ({ target }) => {
  if (target.id !== "add-topic") return;
  const total = document.getElementById("id_topics-TOTAL_FORMS");
  const row = document.getElementById("topic-row").content.firstElementChild.cloneNode(true);
  for (const field of row.querySelectorAll("[name]")) {
    field.name = field.name.replace("__prefix__", total.value);
    field.id = field.id.replace("__prefix__", total.value);
  }
  total.value = Number(total.value) + 1;
  document.getElementById("topic-rows").append(row);
  row.querySelector("input:not([type=hidden])").focus();
});
