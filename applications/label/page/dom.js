// Words, and what is on the page.

const element = document.querySelector("#label");
const [texts, props] = await Promise.all(["texts", "settings"].map(async (name) => (await fetch(`page/${name}.json`)).json()));
const LETTERS = "ABCDEF";
let language = localStorage.getItem("korlhf_label_language") ?? props.language;

function say(key, values = {}) {
  return filled(texts[language][key], values);
}

function find(selector) {
  return element.querySelector(selector);
}

function show(selector, ...children) {
  find(selector).replaceChildren(...children.flat().filter((child) => child !== null));
}

// A button with its key. After a click it gives the focus back, so that Enter confirms instead of pressing it again.
function button(name, label, key, onclick, properties = {}) {
  const made = el(`button.${name}`, { type: "button", ...properties }, el("span", {}, label),
    key ? el("kbd", { "aria-hidden": "true" }, key) : null);
  made.addEventListener("click", (event) => {
    if (event.detail) made.blur();
    onclick(event);
  });
  return made;
}

function notice(text, kind = "") {
  const line = find(".notice");
  line.className = `notice ${kind}`;
  line.textContent = text;
}

function seconds(count) {
  return new Promise((done) => setTimeout(done, 1000 * count));
}
