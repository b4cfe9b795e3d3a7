// Elements and words. What people or models wrote goes in as text nodes alone, never as HTML.

const LETTERS = "ABCDEF";
let language = localStorage.getItem("korlhf_label_language") ?? props.language;

function say(key, values = {}) {
  return texts[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// el("button.tie", {onclick, title}, child, ...): an element with classes, properties and children; a child may be text, or null for none.
function el(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "for" || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
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
