// The chat: one model, turn by turn. The server keeps the talk; `turns` is how many exchanges both sides count.

import { addSuggestions, aiChip, el, following, growing, help, icon, notes, say, scoreChip, speak, toEnd, told, tool } from "./dom.js";
import { Composer, sampling } from "./composer.js";
import { asCopied } from "./file.js";
import { ask, events, hold, NOT_TAKEN, setSession } from "./server.js";
import { Talks, titleOf } from "./talks.js";

export class Chat {
  // turns: the exchanges that count, as the server has them (sessions.Turn); token: the server's for this conversation.
  constructor(view, settings) {
    Object.assign(this, { view, turns: [], token: null, settings, aborter: null });
    this.talk = view.querySelector(".talk");
    const does = { send: (text) => this.send(text), stop: () => this.stop(), models: settings.models };
    this.composer = new Composer(view.querySelector(".dock"), does);
    this.talks = new Talks(view.querySelector(".talks"), settings.login ? sessionStorage : localStorage,
      { open: (talk) => this.open(talk), forget: (talk) => this.forget(talk) });
    view.querySelector(".closed_note button").addEventListener("click", () => this.begin());
    addSuggestions(view, (text) => { if (!this.composer.busy) this.send(text); });
  }

  get title() {
    return titleOf(this.talks.all().find((talk) => talk.token === this.token) ?? { turns: this.turns });
  }

  // closed: the server has forgotten the conversation; it can be read.
  restore(token, turns, closed = false) {
    this.talk.replaceChildren();
    Object.assign(this, { token, turns });
    turns.forEach((turn, at) => {
      this.addUser(turn.user);
      const answer = this.addAnswer(turn.model, turn.user, at);
      answer.said.add(turn.answer);
      this.addHelp(answer, turn.help);
      answer.counted = true;
      this.finish(answer, { end: turn.reason, left_out: turn.left_out });
      if (turn.score !== null) this.addScore(answer, turn.score);
    });
    this.view.classList.toggle("closed", closed);
    this.view.classList.remove("talks_open");
    this.talks.show(token);
    this.draw();
    toEnd(this.view);
  }

  // A new conversation; the one before stays in the list.
  async begin(notice = "") {
    if (this.composer.busy) return;
    const state = await ask("open", { session: null });
    if (state.error) {
      this.composer.notice(`error_${state.error}`);
      return;
    }
    setSession(state.session);
    this.composer.notice(notice);
    this.restore(state.session, []);
    this.composer.focus();
  }

  // One of the list.
  async open(talk) {
    if (this.composer.busy || talk.token === this.token) return;
    this.composer.notice("");
    if (!(await hold(talk.token))) {
      this.composer.notice("in_another_tab");
      return;
    }
    const state = await ask("open", { session: talk.token });
    if (state.error) {
      this.composer.notice(`error_${state.error}`);
      return;
    }
    setSession(state.session);
    if (state.session === talk.token) this.restore(talk.token, state.chat);
    else this.restore(talk.token, talk.turns, true);
  }

  // It was deleted from the list: the server forgets it too.
  async forget(talk) {
    await ask("reset", { page: "chat", session: talk.token });
    if (talk.token === this.token) await this.begin();
  }

  draw() {
    this.view.classList.toggle("empty", !this.talk.children.length);
  }

  addUser(text) {
    const made = el("div.turn.user", {}, told("span.hidden", "you"), el("div.bubble", {}, text));
    this.talk.append(made);
    return made;
  }

  addAnswer(model, user, at) {
    const said = growing();
    const meta = el("div.meta");
    const name = el("div.name", {}, el("i", { "aria-hidden": "true" }, model.slice(0, 1).toUpperCase()), model, aiChip());
    const element = el("div.turn.bot", {}, name, said.element, meta);
    this.talk.append(element);
    return { element, said, meta, model, user, at, counted: false };
  }

  addHelp(answer, found) {
    if (found?.length) answer.element.prepend(help(found));  // none in the browser's own list
  }

  // at: exchanges that stay before this one; before: the answer that this one replaces.
  async send(text, at = this.turns.length, before = null) {
    const mine = before ? before.element.previousElementSibling : this.addUser(text);
    before?.element.remove();
    const answer = this.addAnswer(this.composer.model, text, at);
    const seed = crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;  // drawn here, so that the file can tell it
    answer.how = { seed, ...sampling() };
    this.draw();
    toEnd(this.view);
    this.composer.setBusy(true);
    this.aborter = new AbortController();
    let ended = false;
    for await (const event of events("chat", { text, at, model: answer.model, ...answer.how }, this.aborter.signal)) {
      if (event.error) ended = this.fail(event, answer, mine, before);
      else if (event.help) following(this.view, () => this.addHelp(answer, event.help));
      else if (event.piece !== undefined) following(this.view, () => answer.said.add(event.piece));
      else if (event.end) { this.end(answer, event); ended = true; }
      else if (event.score !== undefined) following(this.view, () => this.addScore(answer, event.score));
    }
    if (!ended) this.fail({ error: "offline" }, answer, mine, before);
  }

  end(answer, event) {
    answer.counted = event.counted;
    const { system = "", ...how } = answer.how;
    const turn = { user: answer.user, answer: answer.said.text(), model: answer.model, reason: event.end, left_out: event.left_out,
      score: null, sampling: how, system, rating: null };
    this.turns = [...this.turns.slice(0, answer.at), ...(event.counted ? [turn] : [])];
    following(this.view, () => this.finish(answer, event));
    this.free();
    this.talks.note(this.token, this.turns);
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
    const rated = this.settings.ratings && answer.counted;
    const thumbs = rated ? [true, false].map((label) => this.thumb(answer, label)) : [];
    answer.meta.append(...notes(answer.said.text(), event.end, event.left_out), ...[copy, again, ...thumbs].filter(Boolean));
  }

  thumb(answer, label) {
    const made = tool(`rate.${label ? "good" : "bad"}`, label ? "rate_good" : "rate_bad", () => this.rate(answer, label));
    made.setAttribute("aria-pressed", String(this.turns[answer.at].rating === label));
    return made;
  }

  // A thumb that is pressed again is taken back.
  async rate(answer, label) {
    const turn = this.turns[answer.at];
    const said = turn.rating === label ? null : label;
    const found = await ask("rate", { at: answer.at, label: said });
    if (found.error) {
      this.composer.notice(found.error === "storage" ? "error_rating" : `error_${found.error}`);
      return;
    }
    turn.rating = said;
    for (const button of answer.meta.querySelectorAll(".rate")) {
      button.setAttribute("aria-pressed", String(said === button.classList.contains("good") && said !== null));
    }
    this.talks.note(this.token, this.turns);
  }

  addScore(answer, score) {
    if (score === null) return;
    answer.meta.prepend(scoreChip(score));
    if (this.turns[answer.at].score === score) return;
    this.turns[answer.at].score = score;
    this.talks.note(this.token, this.turns);
  }

  async copy(button, answer) {
    await navigator.clipboard.writeText(asCopied(answer.said.text(), answer.model, this.settings.mark));
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  }

  // Something went wrong: an answer that was to be replaced comes back, what was not taken goes back into the box, and an answer that broke
  // off stays with the reason.
  fail(event, answer, mine, before) {
    this.free();
    if (event.error === "expired") this.begin("error_expired");
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
    this.send(answer.user, answer.at, answer);
  }

  async stop() {
    const aborter = this.aborter;
    if ((await ask("stop", { page: "chat" })).error) aborter?.abort();
  }
}
