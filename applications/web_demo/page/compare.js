// The comparison: two models answer one message under the names A and B; the server tells who is who after the vote.

import { addSuggestions, aiChip, el, following, growing, help, notes, scoreChip, toEnd, told } from "./dom.js";
import { Composer, sampling } from "./composer.js";
import { ask, COMPARED, events, NOT_TAKEN } from "./server.js";

const LETTER = { left: "A", right: "B" };

export class Compare {
  // token: the server's for this comparison; a tab has one, besides its conversation.
  constructor(view) {
    Object.assign(this, { view, token: null, turns: 0, round: null, aborter: null });
    this.talk = view.querySelector(".talk");
    this.votes = view.querySelector(".votes");
    this.composer = new Composer(view.querySelector(".dock"), { send: (text) => this.send(text), stop: () => this.stop(), models: [] });
    addSuggestions(view, (text) => { if (!this.composer.busy) this.send(text); });
    for (const button of this.votes.querySelectorAll("[data-vote]")) button.addEventListener("click", () => this.vote(button.dataset.vote));
    this.votes.querySelector(".skip").addEventListener("click", () => this.skip());
  }

  // As the server has it, or a new one.
  async open(token) {
    const state = await ask("open", { session: token });
    if (state.error) return;
    this.token = state.session;
    sessionStorage.setItem(COMPARED, state.session);
    this.restore(state.compare, state.pair);
  }

  restore(turns, pair) {
    this.talk.replaceChildren();
    this.turns = turns.length;
    this.round = null;
    for (const turn of turns) {
      this.talk.append(el("div.turn.user", {}, el("div.bubble", {}, turn.user)), el("div.turn.bot", {},
        turn.help.length ? help(turn.help) : null, el("div.name", {}, aiChip()), el("div.said", {}, turn.answer)));
    }
    if (pair) {
      this.addHelp(this.addRound(pair.user), pair.help);
      for (const side of ["left", "right"]) {
        this.round[side].said.add(pair[side].text);
        this.endSide({ side, end: pair[side].reason, left_out: pair[side].left_out });
      }
      this.round.id = pair.id;
    }
    this.draw();
    toEnd(this.view);
  }

  // What stands at the bottom: the votes while there is a pair to vote on, else the box.
  draw() {
    const voting = Boolean(this.round?.id);
    this.view.classList.toggle("empty", !this.talk.children.length);
    this.view.classList.toggle("voting", voting);
    this.votes.hidden = !voting;
    for (const button of this.votes.querySelectorAll("button")) button.disabled = false;
    this.composer.text.dataset.placeholder = this.talk.children.length ? "follow_up" : "placeholder";
    this.composer.text.placeholder = told("span", this.composer.text.dataset.placeholder).textContent;
  }

  addRound(user) {
    const round = { user, id: null };
    const cards = ["left", "right"].map((side) => {
      const said = growing();
      const name = told("span.hidden", "answer_side", { side: LETTER[side] });
      const head = el("div.head", {}, el("i", { "aria-hidden": "true" }, LETTER[side]), name, aiChip());
      const meta = el("div.meta");
      const element = el(`article.card.${side}`, {}, head, said.element, meta);
      round[side] = { said, head, meta, element };
      return element;
    });
    round.line = el("p.outcome", { role: "status" });
    const mine = el("div.turn.user", {}, told("span.hidden", "you"), el("div.bubble", {}, user));
    round.element = el("section.round", {}, mine, el("div.pair", {}, cards), round.line);
    this.talk.append(round.element);
    this.round = round;
    this.draw();
    toEnd(this.view);
    return round;
  }

  addHelp(round, found) {
    if (found.length) round.element.firstElementChild.after(help(found));
  }

  async send(text) {
    const round = this.addRound(text);
    this.composer.setBusy(true);
    this.aborter = new AbortController();
    let ended = false;
    for await (const event of events("compare", { session: this.token, text, at: this.turns, ...sampling() }, this.aborter.signal)) {
      if (event.error) { this.fail(event, round, text); ended = true; }
      else if (event.help) following(this.view, () => this.addHelp(round, event.help));
      else if (event.piece !== undefined) following(this.view, () => round[event.side].said.add(event.piece));
      else if (event.end) following(this.view, () => this.endSide(event));
      else if (event.stopped) { this.over(round, "stopped_pair"); ended = true; }
      else if (event.ready) { round.id = event.ready; ended = true; following(this.view, () => this.draw()); }
    }
    if (!ended) this.fail({ error: "offline" }, round, text);
    this.composer.setBusy(false);
    this.aborter = null;
    if (round.id) {
      toEnd(this.view);
      this.votes.querySelector("h2").focus();  // the box is hidden; no button gets it, so that no key votes by mistake
    } else this.composer.focus();
  }

  endSide(event) {
    const card = this.round[event.side];
    card.said.end();
    card.meta.append(...notes(card.said.text(), event.end, event.left_out));
  }

  over(round, key, kind = "") {
    round.line.replaceChildren(told(`span${kind}`, key));
    round.element.classList.add("over");
    round.id = null;
    this.draw();
    toEnd(this.view);
  }

  fail(event, round, text) {
    if (event.error === "expired") this.open(null);
    if (NOT_TAKEN.includes(event.error)) {
      round.element.remove();
      this.round = null;
      this.composer.set(text);
      this.composer.notice(`error_${event.error}`, event);
      this.draw();
      return;
    }
    for (const side of ["left", "right"]) round[side].said.end();
    this.composer.set(text);
    this.over(round, `error_${event.error}`, ".bad");
  }

  async vote(vote) {
    const { round } = this;
    const notice = this.votes.querySelector(".vote_notice");
    for (const button of this.votes.querySelectorAll("button")) button.disabled = true;
    const answer = await ask("vote", { session: this.token, id: round.id, vote });
    notice.replaceChildren();
    if (answer.error === "expired") { this.over(round, "error_expired", ".bad"); this.open(null); return; }
    if (answer.error) {
      notice.append(told("span.bad", `error_${answer.error}`, answer));
      for (const button of this.votes.querySelectorAll("button")) button.disabled = false;
      return;
    }
    this.reveal(round, answer);
  }

  reveal(round, answer) {
    this.turns = answer.turns;
    for (const side of ["left", "right"]) {
      const { head, meta, element } = round[side];
      head.append(el("b", {}, answer.models[side]));
      if (answer.scores[side] !== null) meta.prepend(scoreChip(answer.scores[side]));
      if (answer.vote === side) { element.classList.add("won"); head.append(told("span.chip.good", "chosen")); }
    }
    if (!["left", "right"].includes(answer.vote)) round.line.append(told("span.chip", `vote_${answer.vote}`));
    const next = answer.kept ? told("span", "goes_on", { side: LETTER[answer.kept] }) : told("span", "not_goes_on");
    round.line.append(told("span.good", "voted"), next);
    round.id = null;
    this.draw();
    toEnd(this.view);
    this.composer.focus();
  }

  skip() {
    this.over(this.round, "skipped");
    this.composer.focus();
  }

  async stop() {
    const { aborter } = this;
    if ((await ask("stop", { session: this.token, page: "compare" })).error) aborter?.abort();
  }

  async begin() {
    if (this.composer.busy) return;
    const answer = await ask("reset", { session: this.token, page: "compare" });
    if (answer.error && answer.error !== "expired") {
      this.composer.notice(`error_${answer.error}`);
      return;
    }
    this.composer.notice("");
    this.restore([], null);
    this.composer.focus();
  }
}
