// The chat: one model, turn by turn. The server keeps the talk; `turns` is how many exchanges both sides count.

import { addSuggestions, el, following, growing, icon, notes, say, scoreChip, speak, toEnd, told, tool } from "./dom.js";
import { Composer, sampling } from "./composer.js";
import { ask, events, NOT_TAKEN } from "./server.js";

export class Chat {
  // renew(): what to do when the server no longer knows the session.
  constructor(view, settings, renew) {
    Object.assign(this, { view, renew, turns: 0, scores: settings.scores, aborter: null });
    this.talk = view.querySelector(".talk");
    const does = { send: (text) => this.send(text), stop: () => this.stop(), models: settings.models };
    this.composer = new Composer(view.querySelector(".dock"), does);
    addSuggestions(view, (text) => { if (!this.composer.busy) this.send(text); });
  }

  restore(turns) {
    this.talk.replaceChildren();
    this.turns = turns.length;
    for (const turn of turns) {
      this.addUser(turn.user);
      const answer = this.addAnswer(turn.model, turn.user);
      answer.said.add(turn.answer);
      this.finish(answer, { end: turn.reason, left_out: turn.left_out });
      answer.counted = true;
      if (turn.score !== null) this.addScore(answer, turn.score);
    }
    this.draw();
    toEnd(this.view);
  }

  draw() {
    this.view.classList.toggle("empty", !this.talk.children.length);
  }

  addUser(text) {
    const made = el("div.turn.user", {}, told("span.hidden", "you"), el("div.bubble", {}, text));
    this.talk.append(made);
    return made;
  }

  addAnswer(model, user) {
    const said = growing();
    const meta = el("div.meta");
    const name = el("div.name", {}, el("i", { "aria-hidden": "true" }, model.slice(0, 1).toUpperCase()), model);
    const element = el("div.turn.bot", {}, name, said.element, meta);
    this.talk.append(element);
    return { element, said, meta, user, counted: false };
  }

  // at: exchanges that stay before this one; before: the answer that this one replaces.
  async send(text, at = this.turns, before = null) {
    const mine = before ? before.element.previousElementSibling : this.addUser(text);
    before?.element.remove();
    const answer = this.addAnswer(this.composer.model, text);
    this.draw();
    toEnd(this.view);
    this.composer.setBusy(true);
    this.aborter = new AbortController();
    let ended = false;
    for await (const event of events("chat", { text, at, model: this.composer.model, ...sampling() }, this.aborter.signal)) {
      if (event.error) ended = this.fail(event, answer, mine, before);
      else if (event.piece !== undefined) following(this.view, () => answer.said.add(event.piece));
      else if (event.end) { this.end(answer, event); ended = true; }
      else if (event.score !== undefined) following(this.view, () => this.addScore(answer, event.score));
    }
    if (!ended) this.fail({ error: "offline" }, answer, mine, before);
  }

  end(answer, event) {
    answer.counted = event.counted;
    this.turns = event.turns;
    following(this.view, () => this.finish(answer, event));
    this.free();
  }

  free() {
    this.composer.setBusy(false);
    this.composer.focus();
    this.aborter = null;
  }

  finish(answer, event) {
    answer.said.end();
    const again = tool("again", "again", () => this.again(answer));
    const copy = navigator.clipboard ? tool("copy", "copy", () => this.copy(copy, answer)) : null;
    answer.meta.append(...notes(answer.said.text(), event.end, event.left_out), ...[copy, again].filter(Boolean));
  }

  addScore(answer, score) {
    if (score !== null) answer.meta.prepend(scoreChip(score));
  }

  async copy(button, answer) {
    await navigator.clipboard.writeText(answer.said.text());
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  }

  // Something went wrong: an answer that was to be replaced comes back, what was not taken goes back into the box, and an answer that broke
  // off stays with the reason.
  fail(event, answer, mine, before) {
    this.free();
    if (event.error === "expired") this.renew();
    if (before || NOT_TAKEN.includes(event.error)) {
      if (before) answer.element.replaceWith(before.element);
      else { answer.element.remove(); mine.remove(); this.composer.set(answer.user); }
      this.composer.notice(`error_${event.error}`, event);
    } else {
      answer.said.end();
      answer.meta.append(told("span.note.bad", `error_${event.error}`, event), tool("again", "again", () => this.again(answer)));
    }
    this.draw();
    return true;
  }

  again(answer) {
    if (this.composer.busy) return;
    this.composer.notice("");
    this.send(answer.user, this.turns - (answer.counted ? 1 : 0), answer);
  }

  async stop() {
    const aborter = this.aborter;
    if ((await ask("stop", { page: "chat" })).error) aborter?.abort();
  }

  async reset() {
    if (this.composer.busy) return;
    const answer = await ask("reset", { page: "chat" });
    if (answer.error && answer.error !== "expired") {
      this.composer.notice(`error_${answer.error}`);
      return;
    }
    this.composer.notice("");
    this.restore([]);
    this.composer.focus();
  }
}
