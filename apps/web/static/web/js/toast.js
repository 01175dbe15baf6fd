// Short messages in the corner; they never catch a click and leave by themselves.

const SHOWN_MS = { success: 4000, error: 10000 };

export function toast(text, level) {
  const note = document.createElement("p");
  note.className = `notice notice-${level}`;
  note.textContent = text;
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), SHOWN_MS[level]);
}
