"use strict";
// On every page: the colour scheme, and the URL hash as the one place where a view's state lives.
document.documentElement.classList.remove("nojs");
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

const state = {
  read: () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""),
  // Unchanged defaults stay out of the link.
  write(values) {
    const hash = state.read();
    for (const [key, value] of Object.entries(values)) {
      if (value === "" || value === null || value === undefined) hash.delete(key);
      else hash.set(key, value);
    }
    const text = hash.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  },
};

(() => {
  const button = $("#theme");
  if (!button) return;
  const modes = ["auto", "light", "dark"];
  const keep = (mode) => { try { localStorage.setItem("theme", mode); } catch { /* storage is switched off */ } };
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const show = (mode) => {
    if (mode === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = mode;
    button.textContent = "Colours: " + mode;
  };
  let mode = modes.includes(kept()) ? kept() : "auto";
  show(mode);
  button.addEventListener("click", () => {
    mode = modes[(modes.indexOf(mode) + 1) % modes.length];
    keep(mode);
    show(mode);
  });
})();

// Control, bidi and zero-width characters are shown, not obeyed (leaderboard/view.py does the same at build time).
function visible(text) {
  const named = (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return String(text).replace(/\r\n/g, "\n")
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Surrogate}/gu, named);
}
