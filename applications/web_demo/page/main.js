// Opens the session, shows the page that the address names, and the log-in where one is asked for.

import { el, firstLanguage, loadTexts, say, switchLanguage, toEnd } from "./dom.js";
import { setLimits } from "./composer.js";
import { ask, dropCopiedSession, forgetSession, onLogin, setSession } from "./server.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";

const pages = {};
const find = (selector) => document.querySelector(selector);

async function open() {
  await dropCopiedSession();
  const state = await ask("open");
  if (state.error) return state;
  setSession(state.session);
  if (!pages.chat) build(state);
  return state;
}

function build(settings) {
  firstLanguage(settings.language);
  setLimits(settings);
  pages.chat = new Chat(find("#chat"), settings, renew);
  if (settings.models.length === 2) pages.compare = new Compare(find("#compare"), settings, renew);
  else find("nav a[href='#compare']").remove();
  if (settings.report) pages.report = {};
  else find("nav a[href='#report']").remove();
  if (find("nav").children.length === 1) find("nav").hidden = true;
  find(".leave").hidden = !settings.login;
  document.title = settings.models.length === 1 ? `${settings.models[0]} · KoRLHF` : "KoRLHF";
}

// The server has forgotten the session: a new one.
async function renew() {
  const state = await open();
  if (state.error) return;
  pages.chat.restore(state.chat);
  pages.compare?.restore(state.compare, state.pair);
}

function show() {
  if (!pages.chat) return;
  const wanted = location.hash.slice(1);
  const page = wanted in pages ? wanted : "chat";
  find("header").hidden = false;
  for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find(".fresh").hidden = page === "report";
  if (page === "report") showReport();
  else {
    toEnd(find(`#${page}`));  // what is hidden does not scroll, and may have grown
    pages[page].composer.focus();
  }
}

// In an origin of its own, whose scripts reach nothing of this page.
function showReport() {
  if (find("#report iframe")) return;
  find("#report").append(el("iframe", { src: "report/", title: say("report_title"), sandbox: "allow-scripts" }));
}

function showLogin() {
  find("header").hidden = true;
  for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== "login";
  find("#login input").focus();
}

async function enter(event) {
  event.preventDefault();
  const form = event.target;
  const answer = await ask("enter", { name: form.elements.name.value, password: form.elements.password.value });
  form.querySelector(".wrong").textContent = answer.error ? say(`error_${answer.error}`, answer) : "";
  if (answer.error) return;
  form.reset();
  await start();
}

// The next person at this screen gets talks of their own.
async function leave() {
  await ask("leave");
  forgetSession();
  location.reload();
}

async function start() {
  const state = await open();
  if (state.error === "who") return;
  if (state.error) {
    document.body.append(el("p.dead", { role: "alert" }, say(`error_${state.error}`)));
    return;
  }
  pages.chat.restore(state.chat);
  pages.compare?.restore(state.compare, state.pair);
  show();
}

async function main() {
  await loadTexts();
  firstLanguage("auto");
  onLogin(showLogin);
  window.addEventListener("hashchange", show);
  for (const button of document.querySelectorAll(".language")) button.addEventListener("click", switchLanguage);
  find(".fresh").addEventListener("click", () => pages[location.hash === "#compare" && pages.compare ? "compare" : "chat"].reset());
  find(".leave").addEventListener("click", leave);
  find("#login form").addEventListener("submit", enter);
  await start();
}

main();
