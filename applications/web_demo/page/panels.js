// The panels over the page: what is known of the models, and a conversation as a file.

import { el, speak, told } from "./dom.js";
import { asLine, asText, canShare, download, nameOf, share } from "./file.js";

const panel = () => document.querySelector("dialog.panel");

function open(title, ...children) {
  const close = told("button.quiet.close", "close");
  close.type = "button";
  close.addEventListener("click", () => panel().close());
  panel().replaceChildren(el("div.title", {}, told("h2", title), close), ...children);
  speak(panel());
  panel().showModal();
}

export function preparePanel() {
  panel().addEventListener("click", (event) => { if (event.target === panel()) panel().close(); });
}

export function openAbout(models) {
  const row = (key, ...value) => el("tr", {}, told("th", key), el("td", {}, ...value));
  const training = ({ name, data, reward }) => el("li", {}, el("b", {}, name), data.length ? ` · ${data.join(", ")}` : "",
    reward ? [" · ", told("span", "by_reward", { reward })] : null);
  const one = ([name, about]) => [el("h3", {}, name), about.base === undefined ? told("p", "of_server") : el("table", {},
    row("base", about.base || told("span", "unknown")),
    row("trainings", about.trainings.length ? el("ol", {}, about.trainings.map(training)) : told("span", "unknown")),
    row("licence", about.licence || told("span", "unknown")))];
  open("about", ...Object.entries(models).flatMap(one), told("p.small", "caution"));
}

// turns: of the conversation; mark: of the settings.
export function openExport(turns, mark, title) {
  const said = el("p.small", { role: "status" });
  const button = (name, key, does) => {
    const made = told(`button.${name}`, key);
    Object.assign(made, { type: "button", disabled: !turns.length, onclick: does });
    return made;
  };
  const shared = async () => {
    const how = await share(asText(turns, mark, title), title);
    said.replaceChildren(how ? told("span", how) : "");
  };
  open("export", told("p", turns.length ? "export_note" : "export_empty"), el("div.choices", {},
    button("as_text.primary", "as_text", () => download(asText(turns, mark, title), nameOf(title, "md"), "text/markdown")),
    button("as_data", "as_data", () => download(asLine(turns, mark), nameOf(title, "jsonl"), "application/x-ndjson")),
    canShare ? button("share", "share", shared) : null), said);
}
