// Shortcuts go by the place of a key (event.code), so they work with the Hangul input on. None fires while somebody types in a text box,
// with Ctrl, Alt or Meta held, or again while a key is held down.

const LETTER_KEYS = {
  KeyT: () => step(restEqual(state.choice, count())), KeyB: () => step(allBad(state.choice)), KeyS: skip, KeyF: openFlag, KeyU: undo,
  KeyE: () => openEdit(bestPlace()), KeyC: () => find(".comment").focus(), Equal: () => count() > 2 && step(join(state.choice)),
  KeyN: goOn, KeyG: () => props.guidelines && openGuide(), Enter: confirm, NumpadEnter: confirm,
};

function onKey(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKey);
  const target = event.target;
  const typing = target.matches?.("textarea, input:not([type=radio]), select, [contenteditable]");
  if (event.isComposing || event.altKey || event.metaKey) return undefined;
  if (typing) return inText(event, target);
  if (event.ctrlKey || event.repeat || !state.token || find(".login:not([hidden])")) return undefined;
  if (find(".panel").open) return inPanel(event);
  if (event.code === "Slash" && event.shiftKey) return take(event, openHelp);
  const digit = /^(?:Digit|Numpad)([1-6])$/.exec(event.code);
  if (state.busy) return digit || LETTER_KEYS[event.code] ? event.preventDefault() : undefined;
  if (!state.item) return event.code === "KeyU" ? take(event, undo) : undefined;
  if (digit && Number(digit[1]) <= count()) return take(event, () => step(pick(state.choice, Number(digit[1]) - 1, count())));
  // Enter on a button that was reached by Tab presses it; one in a panel that was just closed may have the focus still
  const pressed = event.code.endsWith("Enter") && target.matches?.("button:focus-visible, summary") && !target.closest(".panel");
  return LETTER_KEYS[event.code] && !pressed ? take(event, LETTER_KEYS[event.code]) : undefined;
}

function take(event, action) {
  event.preventDefault();
  action();
}

// In a text box only: out of it, and confirm from within.
function inText(event, target) {
  const enters = event.code.endsWith("Enter") && !event.repeat;
  if (target.closest(".panel")) return enters ? take(event, () => find(".send_flag")?.click()) : undefined;
  if (event.code === "Escape") return take(event, () => (target.matches(".editor") ? closeEdit() : target.blur()));
  if (!enters || !(event.ctrlKey || target.matches(".comment")) || target.closest(".login")) return undefined;
  return take(event, () => { closeEdit(); target.blur(); if (event.ctrlKey) confirm(); });
}

function inPanel(event) {
  const reasons = element.querySelectorAll(".reason input");
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  if (reasons.length && digit && reasons[digit[1] - 1]) {
    return take(event, () => {
      reasons[digit[1] - 1].checked = true;
      if (reasons[digit[1] - 1].value === "other") find(".flag_comment").focus();
    });
  }
  const pressed = event.target.matches?.("button:focus-visible");  // Enter presses it
  if (reasons.length && event.code.endsWith("Enter") && !pressed) return take(event, () => find(".send_flag").click());
  return undefined;
}
