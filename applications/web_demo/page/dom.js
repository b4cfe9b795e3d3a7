// Words, and parts of the page.

import { el, filled, switchTheme } from "./elements.js";

export { el, switchTheme };

const LANGUAGE = "korlhf_web_demo_language";
let texts = {};
let language = "ko";

export async function loadTexts() {
  texts = await (await fetch("page/texts.json")).json();
}

// Texts of the server's, the same in each language: { ko: { key: text }, en: ... }.
export function addTexts(more) {
  for (const [to, some] of Object.entries(more)) Object.assign(texts[to], some);
}

// The visitor's own choice, else the program's, else the browser's.
export function firstLanguage(given) {
  const own = localStorage.getItem(LANGUAGE);
  const browser = navigator.language.startsWith("ko") ? "ko" : "en";
  setLanguage(own in texts ? own : given in texts ? given : browser);
}

export function switchLanguage() {
  setLanguage(language === "ko" ? "en" : "ko");
  localStorage.setItem(LANGUAGE, language);
}

function setLanguage(to) {
  language = to;
  document.documentElement.lang = to;
  speak(document.body);
}

export function say(key, values = {}) {
  const found = texts[language][key];
  return typeof found === "string" ? filled(found, values) : found;
}

// Put the words of data-t, data-title and data-placeholder into an element and all in it.
export function speak(root) {
  for (const one of within(root, "[data-t]")) one.textContent = say(one.dataset.t, JSON.parse(one.dataset.values ?? "{}"));
  for (const one of within(root, "[data-title]")) {
    if (one.matches("button, .chip")) one.title = say(one.dataset.title);
    one.setAttribute("aria-label", one.classList.contains("chip") ? one.textContent : say(one.dataset.title));
  }
  for (const one of within(root, "[data-placeholder]")) one.placeholder = say(one.dataset.placeholder);
  for (const one of within(root, ".suggestions")) {
    [...one.children].forEach((button, i) => { button.textContent = say("suggestions")[i]; });
  }
  return root;
}

function within(root, selector) {
  return [...(root.matches(selector) ? [root] : []), ...root.querySelectorAll(selector)];
}

// An element with words that follow the language.
export function told(name, key, values = {}) {
  const made = el(name, { "data-t": key, "data-values": JSON.stringify(values) });
  return speak(made);
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

export function tool(name, key, onclick) {
  return speak(el(`button.quiet.${name}`, { type: "button", "data-title": key, onclick }, icon(name.split(".")[0])));
}

export function aiChip() {
  return el("span.chip.ai", {}, "AI");
}

export function scoreChip(score) {
  const text = `${score < 0 ? "−" : "+"}${Math.abs(score).toFixed(2)}`;
  const made = told("span.chip.score", "score", { score: text });
  made.dataset.title = "score_title";
  return speak(made);
}

// Keep the end of a talk in sight while it grows, unless the reader has scrolled up.
export function following(view, change) {
  const scroll = view.querySelector(".scroll");
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  change();
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

export function toEnd(view) {
  const scroll = view.querySelector(".scroll");
  scroll.scrollTop = scroll.scrollHeight;
}

export function addSuggestions(view, send) {
  const box = view.querySelector(".suggestions");
  box.append(...say("suggestions").map(() => el("button", { type: "button", onclick: (event) => send(event.currentTarget.textContent) })));
  speak(box);
}

// The text of an answer, which grows: .add(piece).
export function growing() {
  const text = document.createTextNode("");
  const said = el("div.said.live", { lang: "ko" }, text, told("span.hidden", "writing"));
  return { element: said, add: (piece) => text.appendData(piece), text: () => text.data,
    end: () => { said.classList.remove("live"); said.querySelector(".hidden")?.remove(); } };
}

// Where help is: settings.helplines, of which names says what was found.
let helplines = null;

export function setHelplines(given) {
  helplines = given;
  for (const to of Object.keys(texts)) {
    const said = Object.entries(given.shown).map(([name, of]) => [`help_${name}`, of[to]]);
    const lines = Object.entries(given.lines).map(([number, of]) => [`line_${number}`, of[to]]);
    addTexts({ [to]: Object.fromEntries([...said, ...lines]) });
  }
}

export function help(names) {
  const numbers = new Set(names.flatMap((name) => helplines.shown[name].lines));
  const called = (number) => (helplines.lines[number].mobile === false ? el("b", {}, number) : el("a", { href: `tel:${number}` }, number));
  const line = (number) => el("li", {}, called(number), told("span", `line_${number}`));
  return el("aside.help", { role: "note" }, names.map((name) => told("p", `help_${name}`)), el("ul", {}, [...numbers].map(line)));
}

// What there is to say below an answer.
export function notes(text, reason, leftOut) {
  const found = [];
  if (!text.trim()) found.push(told("span.note", "end_empty"));
  if (reason === "length" || reason === "cancelled") found.push(told("span.note", `end_${reason}`));
  if (leftOut) found.push(told("span.note", "left_out", { n: leftOut }));
  return found;
}
