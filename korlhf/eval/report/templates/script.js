"use strict";
// Language, readings of the charts, and the answers with their filters. Texts of the data are only ever set as textContent.

const byId = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function both(make) {
  return { en: make("en"), ko: make("ko") };
}

function inBoth(words) {
  const made = element("span");
  for (const lang of ["en", "ko"]) {
    const one = element("span", lang, words[lang]);
    one.lang = lang;
    made.append(one);
  }
  return made;
}

// One of the page's own texts, its {holes} filled.
function say(key, holes = {}) {
  return inBoth(both((lang) => data.words[key][lang].replace(/{(\w+)}/g, (hole, name) => holes[name])));
}

// What a program says of an answer ("verdict · rules"), in both languages; names of models and files stay.
function korean(text) {
  return String(text).split(" · ").map((part) => (Object.hasOwn(data.korean, part) ? data.korean[part] : part)).join(" · ");
}

function said(text) {
  return korean(text) === String(text) ? String(text) : inBoth({ en: text, ko: korean(text) });
}

// --- language: remembered where the browser lets a page remember (not every one does for files)

const KEY = "korlhf-report-language";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function setLanguage(language, remember) {
  byId(`in-${language}`).checked = true;
  document.documentElement.lang = language;
  for (const one of document.querySelectorAll("[data-en]")) one.textContent = one.dataset[language];
  for (const group of document.querySelectorAll("optgroup")) group.label = group.dataset[`${language}Label`];
  if (!remember) return;
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // the choice holds until the page is closed
  }
}

for (const language of ["en", "ko"]) byId(`in-${language}`).addEventListener("change", () => setLanguage(language, true));
const liked = (navigator.languages && navigator.languages[0]) || navigator.language || "en";
setLanguage(["en", "ko"].find((l) => l === remembered()) || (liked.startsWith("ko") ? "ko" : "en"), false);

// --- charts: what is pointed at or tapped stands below, since a finger gets no tooltip

function tell(event) {
  const drawing = event.target.closest?.("[data-chart]");
  if (!drawing) return;
  const { left, width } = drawing.getBoundingClientRect();
  const away = (point) => Math.abs(point[0] - (event.clientX - left) / width);
  const { x, lines } = JSON.parse(drawing.dataset.chart);
  const near = lines.map(({ name, points }) => ({ name, point: points.reduce((best, one) => (away(one) < away(best) ? one : best)) }));
  const first = near.reduce((best, one) => (away(one.point) < away(best.point) ? one : best)).point;
  const values = near.filter(({ point }) => Math.abs(point[0] - first[0]) < 0.01);
  const told = both((lang) => [`${x[lang]} ${first[1]}`, ...values.map(({ name, point }) => `${name[lang]} ${point[2][lang] ?? point[2]}`)].join(" · "));
  drawing.closest("figure").querySelector("output").replaceChildren(inBoth(told));
}

document.addEventListener("pointermove", tell);
document.addEventListener("click", tell);

// --- answers

const data = byId("data") ? JSON.parse(byId("data").textContent) : null;
const hidden = new Set(); // models that are switched off
let page = 0;

function textOf(row) {
  if (!row.text) {
    const parts = row.m.map((turn) => turn[1]);
    for (const answers of Object.values(row.a)) for (const one of answers) parts.push(one.t || "");
    row.text = parts.join("\n").normalize("NFC").toLowerCase();
  }
  return row.text;
}

function hasVerdict(row, name, value) {
  const fits = (note) => note[1] === name && note[2] === value;
  return row.n.some(fits) || Object.entries(row.a).some(([model, answers]) => !hidden.has(model) && answers.some((one) => one.n.some(fits)));
}

function ofSource(row, source) {
  return row.n.some((note) => note[0] === source) || Object.values(row.a).some((answers) => answers.some((one) => one.s.includes(source)));
}

function longest(row) {
  const lengths = Object.entries(row.a).filter(([model]) => !hidden.has(model)).flatMap(([, answers]) => answers.map((one) => (one.t || "").length));
  return Math.max(0, ...lengths);
}

function chosenRows() {
  const text = byId("filter-text").value.normalize("NFC").trim().toLowerCase();
  const category = byId("filter-category").value;
  const source = byId("filter-source").value;
  const verdict = byId("filter-verdict").value && JSON.parse(byId("filter-verdict").value);
  const found = data.rows.filter((row) => (!text || textOf(row).includes(text)) && (!category || row.c === JSON.parse(category))
    && (!source || ofSource(row, Number(source))) && (!verdict || hasVerdict(row, verdict[0], verdict[1])));
  const order = byId("filter-order").value;
  if (order === "apart") found.sort((a, b) => (b.d ?? -1) - (a.d ?? -1));
  if (order === "long") found.sort((a, b) => longest(b) - longest(a));
  return found;
}

function notesOf(notes) {
  const made = element("p", "notes");
  for (const [source, name, value] of notes) {
    const one = element("span", "note");
    one.title = data.sources[source];
    const shown = element("b");
    shown.append(said(String(value).replace(/^-(?=\d)/, "−")));
    one.append(said(name), " ", shown);
    made.append(one);
  }
  return made;
}

function textBlock(text) {
  const made = element("div", "text", text);
  made.dir = "auto";
  return made;
}

function answerOf(one) {
  const made = element("div", "one");
  made.append(one.t ? textBlock(one.t) : withoutText(one));
  const notes = notesOf(one.n);
  if (one.f === "length") notes.prepend(cutOff());
  if (one.k !== undefined) notes.append(tokens(one.k));
  notes.append(element("span", "source", one.s.map((s) => data.sources[s]).join(", ")));
  made.append(notes);
  return made;
}

function withoutText(one) {
  const made = element("div", "failed");
  made.append(one.t === "" ? say("empty") : one.x || "–");
  return made;
}

function cutOff() {
  const made = element("span", "flag");
  made.append(say("cut_off"));
  return made;
}

function tokens(n) {
  const made = element("span", "note");
  made.append(say("tokens", { n }));
  return made;
}

function rowOf(row) {
  const made = element("article", "row");
  const about = element("p", "about");
  if (row.c) about.append(element("span", "category", row.c));
  about.append(element("span", "id", row.id));
  made.append(about);
  for (const [role, text] of row.m) {
    const turn = element("div", `turn ${role === "user" ? "user" : "other"}`);
    const speaker = element("span", "role");
    speaker.append(said(role));
    turn.append(speaker, textBlock(text));
    made.append(turn);
  }
  if (row.n.length) made.append(notesOf(row.n));
  const answers = element("div", "answers");
  for (const model of data.models) {
    if (!row.a[model] || hidden.has(model)) continue;
    const answer = element("div", "answer");
    answer.append(element("h4", "", model), ...row.a[model].map(answerOf));
    answers.append(answer);
  }
  made.append(answers);
  return made;
}

function show() {
  const found = chosenRows();
  const size = Number(byId("page-size").value);
  const pages = Math.max(1, Math.ceil(found.length / size));
  page = Math.min(page, pages - 1);
  const here = found.slice(page * size, (page + 1) * size);
  byId("rows").replaceChildren(...(here.length ? here.map(rowOf) : [nothing()]));
  const range = { from: here.length ? page * size + 1 : 0, to: page * size + here.length, all: found.length };
  byId("page-at").replaceChildren(say("range", range));
  byId("page-back").disabled = page === 0;
  byId("page-on").disabled = page >= pages - 1;
}

function nothing() {
  const made = element("p", "hint");
  made.append(say("nothing"));
  return made;
}

function turnPage(by) {
  page += by;
  show();
  byId("answers").scrollIntoView();
}

function option(select, value, label) {
  const made = element("option", "", label);
  made.value = value;
  select.append(made);
  return made;
}

function fillFilters() {
  for (const category of new Set(data.rows.map((row) => row.c))) if (category) option(byId("filter-category"), JSON.stringify(category), category);
  data.sources.forEach((name, i) => option(byId("filter-source"), String(i), name));
  for (const [name, values] of Object.entries(data.verdicts)) {
    const group = element("optgroup");
    [group.dataset.enLabel, group.dataset.koLabel] = [name, korean(name)];
    for (const value of values) {
      const made = option(group, JSON.stringify([name, value]), value);
      [made.dataset.en, made.dataset.ko] = [value, korean(value)];
    }
    byId("filter-verdict").append(group);
  }
  for (const id of ["filter-category", "filter-source", "filter-verdict"]) byId(id).closest("label").hidden = byId(id).querySelectorAll("option").length < 3;
  for (const model of data.models) {
    const label = element("label", "", model);
    const box = element("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(model);
      else hidden.add(model);
      show();
    });
    label.prepend(box);
    byId("filter-models").append(label);
  }
}

if (data) {
  fillFilters();
  setLanguage(document.documentElement.lang, false);
  byId("filters").hidden = byId("pages").hidden = false;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", (event) => {
    if (event.target.type === "checkbox") return;
    page = 0;
    show();
  });
  byId("page-size").addEventListener("change", () => { page = 0; show(); });
  byId("page-back").addEventListener("click", () => turnPage(-1));
  byId("page-on").addEventListener("click", () => turnPage(1));
  show();
}
