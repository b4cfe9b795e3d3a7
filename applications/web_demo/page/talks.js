// The visitor's conversations, kept in this browser: each is a session of the server's, and a copy of its turns to read. The server alone
// says what a model has said, so a conversation that it has forgotten can be read and downloaded, but not continued.

import { el, icon, say, speak, told, tool } from "./dom.js";

const LIST = "korlhf_web_demo_talks";
const MOST = 50;

export class Talks {
  // store: localStorage, or sessionStorage where people log in: the next one at this screen must not find the list.
  // does: { open(talk), forget(talk) }
  constructor(aside, store, does) {
    Object.assign(this, { aside, store, does, current: null });
    this.list = aside.querySelector("ul");
    window.addEventListener("storage", (event) => { if (event.key === LIST) this.draw(); });  // another tab's
    this.draw();
  }

  all() {
    return JSON.parse(this.store.getItem(LIST) ?? "[]");
  }

  keep(talks) {
    for (let most = MOST; most; most = Math.floor(most / 2)) {
      try {
        this.store.setItem(LIST, JSON.stringify(talks.slice(0, most)));
        break;
      } catch (error) {  // the browser gives no more room: the oldest go
        if (error.name !== "QuotaExceededError") throw error;
      }
    }
    this.draw();
  }

  // The turns of a conversation as they are now, without what the guard found: that is kept nowhere.
  note(token, turns) {
    const known = this.all().find((talk) => talk.token === token);
    if (!known && !turns.length) return;
    const kept = turns.map(({ help, ...turn }) => turn);
    this.keep([{ token, title: known?.title ?? "", turns: kept }, ...this.all().filter((talk) => talk.token !== token)]);
  }

  show(token) {
    this.current = token;
    this.draw();
  }

  forgetAll() {
    this.store.removeItem(LIST);
  }

  draw() {
    const rows = this.all().map((talk) => this.row(talk));
    this.list.replaceChildren(...(rows.length ? rows : [told("li.none", "no_talks")]));
  }

  row(talk) {
    const name = el("button.open_talk", { type: "button", onclick: () => this.does.open(talk) }, titleOf(talk));
    if (talk.token === this.current) name.setAttribute("aria-current", "true");
    const row = el("li", {}, name, tool("rename", "rename", () => this.rename(talk, row)),
      tool("delete", "delete", (event) => this.remove(talk, event.currentTarget)));
    return row;
  }

  rename(talk, row) {
    const input = el("input.title", { value: titleOf(talk), maxLength: 80, "data-title": "rename" });
    const done = (save) => {
      input.onblur = null;
      const title = input.value.trim();
      if (save) this.keep(this.all().map((one) => (one.token === talk.token ? { ...one, title } : one)));
      else this.draw();
    };
    input.onblur = () => done(true);
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;  // Enter ends a Hangul syllable
      if (event.code === "Enter" || event.code === "Escape") done(event.code === "Enter");
    });
    row.replaceChildren(speak(input));
    input.select();
  }

  // The first press asks, the second deletes.
  remove(talk, button) {
    if (!button.classList.contains("armed")) {
      button.classList.add("armed");
      button.replaceChildren(icon("delete"), told("span", "delete_sure"));
      button.addEventListener("blur", () => this.draw(), { once: true });
      return;
    }
    this.keep(this.all().filter((one) => one.token !== talk.token));
    this.does.forget(talk);
  }
}

export function titleOf(talk) {
  return talk.title || talk.turns[0]?.user.slice(0, 60) || say("new_talk");
}
