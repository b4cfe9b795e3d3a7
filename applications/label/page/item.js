// Drawing the item: the conversation, the answers, the bar of actions. drawItem is called for a new item, drawChoice after every step.

function drawItem() {
  const item = state.item;
  find(".loading").hidden = true;
  find(".work").hidden = !item;
  find(".nothing").hidden = Boolean(item);
  drawCounts();
  if (!item) return;
  find(".work").dataset.item = item.item;
  const turns = item.talk.map((turn, i) => drawTurn(turn, i === item.talk.length - 1 ? item.context : ""));
  show(".talk", item.category ? el("span.chip", {}, item.category) : null, turns);
  show(".ask", item.answers.length === 2 ? say("ask_two") : say("ask_many"));
  find(".answers").className = `answers of${item.answers.length}`;
  show(".answers", item.answers.map((text, place) => drawAnswer(text, place)));
  find(".comment").value = state.comment;
  find(".revising").hidden = item.revises === null;
  drawChoice();
  scrollTo({ top: 0 });
}

function drawTurn(turn, context) {
  return el(`div.turn.${turn.role}`, {}, el("div.who", {}, say(turn.role)), el("div.said", {}, turn.content),
    context ? el("div.context", {}, el("div.who", {}, say("context")), el("div.said", {}, context)) : null);
}

function drawAnswer(text, place) {
  const letter = LETTERS[place];
  const head = el("div.head", {}, button("pick", letter, String(place + 1), () => step(pick(state.choice, place, count())),
    { "aria-label": `${say("answer", { letter })} ${say("pick")}` }), el("span.rank"),
    button("edit.quiet", say("edit"), "", () => openEdit(place), { "aria-label": say("edit_label", { letter }) }));
  const card = el("article.answer", { "data-place": place, "aria-label": say("answer", { letter }) }, head, el("div.text", {}, text));
  card.addEventListener("click", (event) => {
    if (event.target.closest("button, textarea, summary") || getSelection().toString()) return;
    step(pick(state.choice, place, count()));
  });
  return card;
}

function drawChoice() {
  const { choice, item } = state;
  const n = count();
  const rank = (place) => choice.groups.findIndex((group) => group.includes(place));
  const lastOne = n > 2 && ranked(choice).length === n - 1;
  element.querySelectorAll(".answer").forEach((card, place) => {
    const r = rank(place);
    const isEdited = choice.edit && choice.editOf === place;
    card.classList.toggle("chosen", r === 0 && choice.groups[0].length < n);
    card.classList.toggle("ranked", r > 0 || (r === 0 && choice.groups[0].length === n));
    card.classList.toggle("bad", choice.allBad);
    card.querySelector(".pick").setAttribute("aria-pressed", String(r >= 0));
    card.querySelector(".rank").textContent = isEdited ? say("edited") : rankWord(r < 0 && lastOne ? choice.groups.length : r, n);
    if (state.editing !== place) drawText(card, item.answers[place], isEdited ? choice.edit : "");
  });
  drawSummary(n);
}

function rankWord(r, n) {
  if (r < 0) return "";
  if (state.choice.groups[0].length === n) return say("tie");
  return n === 2 ? say("best") : say("rank", { n: state.choice.groups.slice(0, r).flat().length + 1 });
}

function drawText(card, original, edit) {
  const below = edit ? el("details.original", {}, el("summary", {}, say("original")), el("div.text", {}, original)) : "";
  card.replaceChildren(card.firstChild, el("div.text", {}, edit || original), below);
}

function drawSummary(n) {
  const { choice } = state;
  const words = choice.allBad ? say(n === 2 ? "both_bad" : "all_bad") : inLetters(choice, n);
  const all = [words, choice.edit ? say("edited") : ""].filter(Boolean).join(" · ");
  show(".summary", all || say("nothing_yet"), choice.joining ? el("small", {}, ` ${say("joins")}`) : null);
  find(".summary").classList.toggle("empty", !all);
  show(".actions",
    n > 2 ? button("equal", say("equal"), "=", () => step(join(state.choice)), { "aria-pressed": String(choice.joining) }) : null,
    button("tie", say(n > 2 && choice.groups.length ? "rest_equal" : "tie"), "T", () => step(restEqual(state.choice, n))),
    button("all_bad", say(n === 2 ? "both_bad" : "all_bad"), "B", () => step(allBad(state.choice)),
      { "aria-pressed": String(choice.allBad) }),
    button("edit_best.keyboard", say("edit"), "E", () => openEdit(bestPlace())),
    button("note.keyboard", say("comment"), "C", () => find(".comment").focus()),
    button("skip", say("skip"), "S", skip), button("flag", say("flag"), "F", openFlag), button("undo", say("undo"), "U", undo));
  find(".confirm").disabled = isEmpty(choice);
}

function bestPlace() {
  return state.choice.editOf ?? state.choice.groups[0]?.[0] ?? null;
}

// The text of an answer as a text box. What is typed is the edit at once: nothing is lost by confirming from within.
function openEdit(place) {
  if (place === null) return notice(say("choose_first"), "warn");
  closeEdit();
  const original = state.item.answers[place];
  const box = el("textarea.editor", { value: state.choice.editOf === place ? state.choice.edit : original, rows: 5, maxLength: 20000,
    "aria-label": say("edit_label", { letter: LETTERS[place] }) });
  const drop = button("quiet", say("edit_drop"), "", () => { box.value = original; closeEdit(); });
  const card = element.querySelectorAll(".answer")[place];
  state.editing = place;
  state.before = state.choice;
  box.addEventListener("input", () => { state.choice = edited(state.before, place, box.value, original); drawChoice(); });
  card.replaceChildren(card.firstChild, box, el("div.hint", {}, say("edit_hint")),
    el("div.row", {}, button("quiet", say("edit_done"), "Esc", closeEdit), drop));
  box.focus();
}

function closeEdit() {
  if (state.editing === null) return;
  const place = state.editing;
  const box = find(".editor");
  state.editing = null;
  const changed = edited(state.before, place, box.value, state.item.answers[place]);
  state.choice = state.before;
  step(changed);
}

function drawCounts() {
  const { today, mine } = state.counts;
  const { share } = props;
  find(".bar").hidden = !share;
  find(".bar span").style.width = `${share ? Math.min(100, (100 * today) / share) : 0}%`;
  find(".bar").classList.toggle("full", Boolean(share) && today >= share);
  show(".today", say(!share ? "today_n" : today < share ? "today_of" : "today_done", { today, share }));
  show(".mine_n", say("mine_n", { n: mine }));
}
