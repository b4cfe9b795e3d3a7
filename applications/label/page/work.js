// The work: asking the server, taking steps, sending labels. A label counts as saved when the server has said so, not before: it answers
// when the label is on its disk. Until then the page sends it again, under the same ticket, which the server takes once.

const state = { token: localStorage.getItem("korlhf_label_token"), item: null, counts: { today: 0, mine: 0 }, choice: NOTHING,
  past: [], saved: NOTHING, comment: "", editing: null, before: NOTHING,
  // While the server is asked for an item or given a label; the page shows it, and takes no keys.
  get busy() { return element.ariaBusy === "true"; },
  set busy(busy) { element.ariaBusy = String(busy); } };

function count() {
  return state.item.answers.length;
}

// Ask the server; its answer, or null after an error that was shown. Asks again and again while the server cannot be reached.
async function ask(name, values) {
  let answer;
  while ((answer = await reach(name, values)) === undefined) {
    notice(say("retrying"), "bad");
    await seconds(1);
  }
  if (!answer.error) return answer;
  if (answer.error === "who") logOut(say("logged_out"));
  else if (["wrong_name", "wrong_password", "wait"].includes(answer.error)) drawLogin(say(answer.error, answer));
  else notice(say(`error_${answer.error}`), "warn");
  return answer.error === "conflict" ? answer : null;
}

// One call: what the server says, undefined if it says nothing.
async function reach(name, values) {
  try {
    const response = await fetch(`api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: state.token, ...values }) });
    return await response.json();
  } catch (error) {
    console.warn(error);
    return undefined;
  }
}

async function enter(name, password) {
  const answer = await ask("enter", { name, password });
  if (!answer) return;
  state.token = answer.token;
  localStorage.setItem("korlhf_label_token", answer.token);
  localStorage.setItem("korlhf_label_name", answer.name);
  takeItem(answer);
}

async function leave() {
  await ask("leave", {});
  logOut("");
}

function logOut(words) {
  localStorage.removeItem("korlhf_label_token");
  Object.assign(state, { token: null, item: null });
  drawLogin(words);
}

// Show an item of the server's, with the own label that it has.
function takeItem(answer) {
  const own = answer.item?.verdict ?? null;
  Object.assign(state, { item: answer.item, counts: answer.counts ?? state.counts, choice: own ? fromVerdict(own) : NOTHING, past: [],
    comment: own?.comment ?? "", editing: null });
  state.saved = state.choice;
  drawPage();
}

function drawPage() {
  find(".login").hidden = true;
  find("header").hidden = false;
  find("footer").hidden = !state.item;
  drawItem();
}

function step(choice) {
  if (state.editing !== null) {  // the text box closes; what was typed is in `choice`
    state.editing = null;
    state.choice = state.before;
  }
  if (JSON.stringify(choice) === JSON.stringify(state.choice)) return drawChoice();
  state.past.push(state.choice);
  state.choice = choice;
  notice("");
  return drawChoice();
}

// Take back one step; on an untouched item, go back to the label before.
function undo() {
  if (state.editing !== null) closeEdit();
  if (!state.past.length) return reopen(state.item?.revises ?? null);
  state.choice = state.past.pop();
  return drawChoice();
}

// The last of the own labels before that number, or the last of all.
async function reopen(before) {
  if (state.busy) return;
  state.busy = true;
  const answer = await ask("back", { before });
  state.busy = false;
  if (!answer) return;
  if (!answer.item) notice(say("no_earlier"), "warn");
  else { takeItem(answer); notice(""); }
}

async function goOn() {
  if (state.busy || state.item?.revises === null) return;
  await lookAgain();
}

async function lookAgain() {
  state.busy = true;
  const answer = await ask("next", {});
  state.busy = false;
  if (answer) { takeItem(answer); notice(""); }
}

function confirm() {
  if (state.editing !== null) closeEdit();
  if (isEmpty(state.choice)) return notice(say("choose_first"), "warn");
  const own = state.item.verdict;
  if (own && JSON.stringify(state.choice) === JSON.stringify(state.saved) && (own.comment ?? "") === state.comment.trim()
      && own.kind !== "skip" && own.kind !== "flag") return lookAgain().then(() => notice(say("kept")));
  return submit(asVerdict(state.choice, state.comment));
}

function skip() {
  return submit({ kind: "skip", comment: state.comment });
}

async function submit(verdict) {
  if (state.busy) return;
  state.busy = true;
  notice(say("saving"));
  const ticket = crypto.getRandomValues(new Uint32Array(4)).join("-");
  const answer = await ask("submit", { item: state.item.item, verdict, revises: state.item.revises, ticket });
  state.busy = false;
  if (!answer) return;
  if (answer.error) { await lookAgain(); notice(say(`error_${answer.error}`), "warn"); return; }
  takeItem(answer);
  notice(`✓ ${say("saved")}`, "good");
}

async function start() {
  drawFrame();
  document.addEventListener("keydown", onKey);
  if (!state.token) return drawLogin();
  const answer = await ask("next", {});
  if (answer) takeItem(answer);
  for (;;) {  // an item may come free, or be added
    await seconds(15);
    if (!element.isConnected) return undefined;
    if (state.token && !state.item && !state.busy) await lookAgain();
  }
}

start();
