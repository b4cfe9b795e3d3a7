// Where messages are typed: grows with the text, counts characters, sends by Enter (a new line on phones, where there is a button), and the
// settings of the answers, which both pages share.

import { el, say, speak } from "./dom.js";

const settings = { temperature: 0, top_p: 1, max_new_tokens: 0, seed: "", system: "", most: null };
const SHOWN = { temperature: (value) => value.toFixed(1), top_p: (value) => value.toFixed(2), max_new_tokens: String };

// most: the server's settings; without a system message in them visitors have no say in it.
export function setLimits(most) {
  const { temperature, top_p, max_new_tokens, system = "" } = most;
  Object.assign(settings, { temperature, top_p, max_new_tokens, system, seed: "", most });
}

// What a request says of the answer; no seed: a new one is drawn each time.
export function sampling() {
  const { temperature, top_p, max_new_tokens, seed, system, most } = settings;
  return { temperature, top_p, max_new_tokens, ...(seed === "" ? {} : { seed: Number(seed) }),
    ...(most.system === undefined ? {} : { system }) };
}

export class Composer {
  // send(text), stop(): what the buttons do; models: names to choose from, [] = there is nothing to choose.
  constructor(dock, { send, stop, models }) {
    dock.append(document.querySelector("#composer").content.cloneNode(true));
    this.dock = dock;
    this.send = send;
    this.text = dock.querySelector(".message");
    this.popover = dock.querySelector(".popover");
    this.text.addEventListener("input", () => this.draw());
    this.text.addEventListener("keydown", (event) => this.onKey(event));
    dock.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    dock.querySelector(".stop").addEventListener("click", stop);
    this.prepareSettings();
    this.prepareModels(models);
    this.busy = false;
    speak(dock);
    this.draw();
  }

  prepareModels(models) {
    const place = this.dock.querySelector(".model");
    if (!models.length) place.remove();
    else if (models.length === 1) place.textContent = models[0];
    else {
      this.choice = el("select.model", { "data-title": "model" }, models.map((name) => el("option", { value: name }, name)));
      place.replaceWith(this.choice);
    }
    this.models = models;
  }

  get model() {
    return this.choice ? this.choice.value : this.models[0];
  }

  prepareSettings() {
    const button = this.dock.querySelector(".open_settings");
    const { most } = settings;
    const bounds = { temperature: [0, most.max_temperature], top_p: [0.05, 1], max_new_tokens: [Math.min(16, most.max_new_tokens),
      most.max_new_tokens] };
    for (const input of this.popover.querySelectorAll("[type=range]")) {
      [input.min, input.max] = bounds[input.name];
      input.addEventListener("input", () => { settings[input.name] = Number(input.value); this.drawSettings(); });
    }
    const seed = this.popover.querySelector("[name=seed]");
    seed.addEventListener("input", () => { settings.seed = seed.checkValidity() ? seed.value : ""; });
    const system = this.popover.querySelector("[name=system]");
    system.maxLength = most.max_characters;
    system.addEventListener("input", () => { settings.system = system.value; });
    if (most.system === undefined) system.closest("label").remove();
    this.popover.querySelector(".as_first").addEventListener("click", () => { setLimits(most); this.drawSettings(); });
    button.addEventListener("click", () => this.openSettings(this.popover.hidden));
    document.addEventListener("pointerdown", (event) => {
      if (!this.popover.contains(event.target) && !button.contains(event.target)) this.openSettings(false);
    });
    this.dock.addEventListener("keydown", (event) => { if (event.code === "Escape") this.openSettings(false); });
  }

  openSettings(open) {
    this.popover.hidden = !open;
    this.dock.querySelector(".open_settings").setAttribute("aria-expanded", String(open));
    if (open) this.drawSettings();
  }

  drawSettings() {
    for (const input of this.popover.querySelectorAll("input, textarea")) {
      input.value = settings[input.name];
      if (SHOWN[input.name]) input.parentElement.querySelector("output").textContent = SHOWN[input.name](settings[input.name]);
    }
  }

  onKey(event) {
    const byButton = matchMedia("(hover: none)").matches;
    if (event.code !== "Enter" && event.code !== "NumpadEnter") return;
    if (event.shiftKey || event.isComposing || byButton) return;  // isComposing: Enter ends a Hangul syllable
    event.preventDefault();
    this.submit();
  }

  submit() {
    const text = this.text.value.trim();
    if (this.busy || !text || [...text].length > settings.most.max_characters) return;
    this.set("");
    this.notice("");
    this.send(text);
  }

  set(text) {
    this.text.value = text;
    this.draw();
  }

  setBusy(busy) {
    this.busy = busy;
    this.draw();
  }

  focus() {
    if (matchMedia("(hover: hover)").matches) this.text.focus();
  }

  notice(key, values) {
    const line = this.dock.querySelector(".notice");
    line.hidden = !key;
    line.dataset.t = key || "error_empty";
    line.dataset.values = JSON.stringify(values ?? {});
    if (key) speak(line);
  }

  draw() {
    const n = [...this.text.value.trim()].length;
    const most = settings.most.max_characters;
    const counter = this.dock.querySelector(".counter");
    counter.textContent = n > 0.8 * most ? say("counter", { n: n.toLocaleString(), most: most.toLocaleString() }) : "";
    counter.classList.toggle("over", n > most);
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
    this.dock.querySelector(".send").disabled = !n || n > most;
    this.dock.querySelector(".send").hidden = this.busy;
    this.dock.querySelector(".stop").hidden = !this.busy;
  }
}
