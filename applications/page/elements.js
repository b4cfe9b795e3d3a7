// What both pages build elements with. What people or models wrote goes in as text nodes alone, never as HTML.

// el("div.turn.user", {hidden: true}, child, ...): an element with classes, properties and children; a child may be text, or null for none.
export function el(name, properties = {}, ...children) {
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

// A text with values in its {holes}.
export function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Light or dark: the system's, until the reader chooses the other one; choosing the system's again follows it from then on.
const THEME = "korlhf_theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");

export function switchTheme() {
  const dark = (localStorage.getItem(THEME) ?? (systemDark.matches ? "dark" : "light")) !== "dark";
  if (dark === systemDark.matches) localStorage.removeItem(THEME);
  else localStorage.setItem(THEME, dark ? "dark" : "light");
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? "";
}
