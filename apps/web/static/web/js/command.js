// Sends a command and says what became of it: the broker's word, then the device's.

import { ask } from "./api.js";
import { say } from "./patch.js";
import { fill, language, texts } from "./texts.js";

const words = texts.commands;
const ended = new Set(["answered", "no_reply", "failed", "expired", "no_puback"]);
const LATE_MS = 2000; // the sweep that ends what waits in vain comes by now and then
const milliseconds = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });

/** @returns {{hear: (data: {command_id: number, state: string}) => void}} */
export function listenToCommands() {
  const form = document.getElementById("send");
  if (!form) return { hear() {} };
  const button = form.querySelector("button");
  let waitingFor = null; // { id, confirmed, timer }
  let pending = null; // { body, key }: the same message again is the same message
  const early = new Map(); // an answer may come before the broker's

  async function send() {
    const body = bodyOf(form);
    const text = JSON.stringify(body);
    if (pending?.text !== text) pending = { text, key: newKey() };
    button.disabled = true;
    clearTimeout(waitingFor?.timer);
    waitingFor = null;
    say(form, words.sending, "blue");
    try {
      const sent = await ask(form.dataset.publish, { method: "POST", body, headers: { "Idempotency-Key": pending.key } });
      pending = null;
      delivered(sent);
    } catch (error) {
      if (error.status) pending = null; // the server knows what became of it
      say(form, error.status && error.message ? error.message : words.unknown, "red");
    }
    button.disabled = false;
  }

  function delivered({ command_id: id, puback_ms: ms, detail, reply_until: until }) {
    const confirmed = [fill(words.confirmed, { ms: milliseconds.format(ms) }), detail].filter(Boolean).join(" ");
    say(form, until ? `${confirmed} ${words.waiting}` : confirmed, until ? "blue" : "green");
    if (!until) return;
    const timer = setTimeout(look, Date.parse(until) - Date.now() + LATE_MS);
    waitingFor = { id, confirmed, timer };
    if (early.has(id)) look();
  }

  async function look() {
    const { id, confirmed } = waitingFor;
    try {
      const { state, reply } = await ask(`${form.dataset.commands}${id}/`);
      if (waitingFor?.id !== id) return;
      const outcome = state === "answered" ? fill(words.answered, { reply }) : words.states[state];
      say(form, `${confirmed} ${outcome}`, state === "answered" ? "green" : "orange");
    } catch (error) {
      console.info("command:", error.name); // the list below has it with the next refetch
    }
  }

  button.disabled = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  return {
    hear({ command_id: id, state }) {
      if (!ended.has(state)) return;
      if (waitingFor?.id === id) look();
      else early.set(id, state);
    },
  };
}

function bodyOf({ elements: { topic, message, reply_timeout_s: reply } }) {
  return { topic: topic.value, message: message.value, reply_timeout_s: reply.value ? Number(reply.value) : null };
}

/** `crypto.randomUUID` is missing on pages without HTTPS. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
