// The mapping on a page of its own, as a link opens it.

import "./site_form.js";
import { livenForm } from "./site_mapping.js";

livenForm(document.querySelector("#mapping form"));
