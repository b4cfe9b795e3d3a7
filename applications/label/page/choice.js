// What a person has chosen so far. Every step is a function choice -> new choice; places are those on the page, from 0.
// groups: places, best first, those in one group are equal. joining: the next place goes into the last group. editOf, edit: of one answer
// at most.

const NOTHING = { groups: [], allBad: false, joining: false, editOf: null, edit: "" };

function ranked(choice) {
  return choice.groups.flat();
}

function isEmpty(choice) {
  return !choice.groups.length && !choice.allBad && !choice.edit;
}

// Choose an answer: the better one of two; of more, the next best, or out of the ranking again.
function pick(choice, place, n) {
  const groups = choice.groups.map((group) => group.filter((p) => p !== place)).filter((group) => group.length);
  const next = { ...choice, allBad: false, joining: false };
  if (n === 2) return { ...next, groups: [[place]] };
  if (ranked(choice).includes(place)) return { ...next, groups };
  if (choice.joining && groups.length) return { ...next, groups: [...groups.slice(0, -1), [...groups.at(-1), place]] };
  return { ...next, groups: [...groups, [place]] };
}

function join(choice) {
  return choice.groups.length ? { ...choice, joining: !choice.joining } : choice;
}

// The answers without a rank are equal; of two answers both are.
function restEqual(choice, n) {
  const before = n === 2 ? [] : choice.groups;
  const rest = [...Array(n).keys()].filter((place) => !before.flat().includes(place));
  return { ...choice, allBad: false, joining: false, groups: rest.length ? [...before, rest] : before };
}

function allBad(choice) {
  return { ...choice, groups: [], joining: false, allBad: !choice.allBad };
}

// An edited text that is empty or the answer itself is no edit. An edit alone says that its answer was the best one to begin with.
function edited(choice, place, text, original) {
  if (!text.trim() || text.trim() === original.trim()) return { ...choice, editOf: null, edit: "" };
  const groups = choice.groups.length || choice.allBad ? choice.groups : [[place]];
  return { ...choice, groups, editOf: place, edit: text };
}

// The choice as the server takes it, and back.
function asVerdict(choice, comment) {
  const verdict = { kind: choice.allBad ? "all_bad" : "order", groups: choice.groups, comment };
  if (choice.edit) Object.assign(verdict, { edit: choice.edit, edit_of: choice.editOf });
  return verdict;
}

function fromVerdict(verdict) {
  const { kind, groups = [], edit = "", edit_of: editOf = null } = verdict;
  return { ...NOTHING, groups, allBad: kind === "all_bad", editOf, edit };
}

// "B > A = C": what the choice says of all n answers. One answer alone without a rank is the last; of several nothing is said but that.
function inLetters(choice, n) {
  const rest = [...Array(n).keys()].filter((place) => !ranked(choice).includes(place));
  const groups = choice.groups.map((group) => group.map((place) => LETTERS[place]).join(" = "));
  if (choice.groups.length && rest.length) groups.push(rest.length === 1 ? LETTERS[rest[0]] : say("the_rest"));
  return groups.join(" > ");
}
