// The guidelines (settings.json's, Markdown): beside the item where there is room, else in a panel. Headings, lists, paragraphs and bold;
// the rest stays as it is written.

const GUIDE = "korlhf_label_guide";

function drawMarkdown(text) {
  const kinds = [[/^#+\s+/, "h3", ""], [/^[-*]\s+/, "li", "ul"], [/^\d+[.)]\s+/, "li", "ol"], [/^/, "p", ""]];
  const parts = [];
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const [mark, name, list] = kinds.find(([pattern]) => pattern.test(line));
    const made = el(name, {}, bold(line.replace(mark, "")));
    if (!list) parts.push(made);
    else if (parts.at(-1)?.localName === list) parts.at(-1).append(made);
    else parts.push(el(list, {}, made));
  }
  return parts;
}

function bold(text) {
  return text.split("**").map((part, i) => (i % 2 ? el("b", {}, part) : part));
}

function besideItem() {
  return matchMedia("(min-width: 1100px)").matches;
}

function drawGuide() {
  const hidden = localStorage.getItem(GUIDE) === "hidden";
  find(".guide").hidden = hidden;
  find("main.work").classList.toggle("with_guide", !hidden);
}

function openGuide() {
  if (!besideItem()) return openPanel(say("guide"), el("div.guide_text", { lang: "ko" }, drawMarkdown(props.guidelines)));
  localStorage.setItem(GUIDE, find(".guide").hidden ? "shown" : "hidden");
  return drawGuide();
}
