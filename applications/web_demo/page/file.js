// A conversation as a file or a text to share, marked as AI's: for people in both languages, for programs by mark (settings.mark).

import { say } from "./dom.js";

function messages(turns) {
  const system = turns.at(-1).system;
  const said = turns.flatMap((turn) => [{ role: "user", content: turn.user }, { role: "assistant", content: turn.answer }]);
  return [...(system ? [{ role: "system", content: system }] : []), ...said];
}

function head(turns, mark) {
  return { model: [...new Set(turns.map((turn) => turn.model))].join(", "), time: new Date().toISOString(), ...mark };
}

// A line as step 1 reads it, with the sampling of each answer.
export function asLine(turns, mark) {
  const how = turns.map((turn) => turn.sampling ?? null);
  return `${JSON.stringify({ messages: messages(turns), source: "web_demo", sampling: how, ...head(turns, mark) })}\n`;
}

// Markdown, the mark in its YAML front matter too.
export function asText(turns, mark, title) {
  const yaml = Object.entries(head(turns, mark)).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  const system = turns.at(-1).system;
  const parts = [`# ${title}`, `> ${mark.notice}`, ...(system ? [`**${say("system")}**`, system] : []),
    ...turns.flatMap((turn) => [`**${say("you")}**`, turn.user, `**${turn.model} (AI)**`, turn.answer])];
  return `---\n${yaml.join("\n")}\n---\n\n${parts.join("\n\n")}\n`;
}

// One answer for the clipboard: the mark is its first line.
export function asCopied(text, model, mark) {
  return `[AI · ${model} · ${new Date().toISOString().slice(0, 10)}] ${mark.notice}\n\n${text}`;
}

export function download(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

export function nameOf(title, end) {
  return `${title.replace(/[^\p{L}\p{N}]+/gu, "_").replace(/^_|_$/g, "").slice(0, 40) || "korlhf"}.${end}`;
}

export const canShare = Boolean(navigator.share || navigator.clipboard);

// By the system's own way of sharing where there is one, else into the clipboard -> "shared" or "copied", or "" if it was called off.
export async function share(text, title) {
  if (!navigator.share) {
    await navigator.clipboard.writeText(text);
    return "copied";
  }
  try {
    await navigator.share({ title, text });
    return "shared";
  } catch (error) {
    if (error.name === "AbortError") return "";
    throw error;
  }
}
