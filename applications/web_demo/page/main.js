// Opens the session, shows the page that the address names, and the log-in where one is asked for.

import { addTexts, el, firstLanguage, loadTexts, say, setHelplines, switchLanguage, switchTheme, toEnd } from "./dom.js";
import { setLimits } from "./composer.js";
import { ask, COMPARED, dropCopiedSession, forgetSession, onLogin, setSession } from "./server.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { openAbout, openExport, preparePanel } from "./panels.js";

const pages = {};
const find = (selector) => document.querySelector(selector);

function build(settings) {
  setHelplines(settings.helplines);
  const { notice } = settings;
  addTexts({ ko: { ai_notice: notice?.ko ?? "" }, en: { ai_notice: notice?.en ?? "" } });
  firstLanguage(settings.language);
  setLimits(settings);
  pages.chat = new Chat(find("#chat"), settings);
  if (settings.models.length === 2) pages.compare = new Compare(find("#compare"));
  else find("nav a[href='#compare']").remove();
  if (settings.report) pages.report = {};
  else find("nav a[href='#report']").remove();
  if (find("nav").children.length === 1) find("nav").hidden = true;
  find(".leave").hidden = !settings.login;
  find(".about").addEventListener("click", () => openAbout(settings.about));
  find(".export").addEventListener("click", () => openExport(pages.chat.turns, settings.mark, pages.chat.title));
  document.title = settings.models.length === 1 ? `${settings.models[0]} · KoRLHF` : "KoRLHF";
}

function show() {
  if (!pages.chat) return;
  const wanted = location.hash.slice(1);
  const page = wanted in pages ? wanted : "chat";
  find("header").hidden = false;
  find(".ai_notice").hidden = !find(".ai_notice").textContent;
  for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find(".fresh").hidden = page === "report";
  for (const one of document.querySelectorAll(".export, .open_talks")) one.hidden = page !== "chat";
  openMenu(false);
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
  find("header").hidden = find(".ai_notice").hidden = true;
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
  pages.chat.talks.forgetAll();
  forgetSession();
  location.reload();
}

async function start() {
  await dropCopiedSession();
  const state = await ask("open");
  if (state.error === "who") return;
  if (state.error) {
    document.body.append(el("p.dead", { role: "alert" }, say(`error_${state.error}`)));
    return;
  }
  setSession(state.session);
  if (!pages.chat) build(state);
  pages.chat.restore(state.session, state.chat);
  await pages.compare?.open(sessionStorage.getItem(COMPARED));
  show();
}

// On narrow screens what the header has no room for is a menu.
function openMenu(open) {
  find(".menu").classList.toggle("open", open);
  find(".open_menu").setAttribute("aria-expanded", String(open));
}

function prepareHeader() {
  const { body } = document;
  for (const button of document.querySelectorAll(".language")) button.addEventListener("click", switchLanguage);
  find(".theme").addEventListener("click", switchTheme);
  find(".fresh").addEventListener("click", () => pages[location.hash === "#compare" && pages.compare ? "compare" : "chat"].begin());
  find(".leave").addEventListener("click", leave);
  find(".open_talks").addEventListener("click", () => find("#chat").classList.toggle("talks_open"));
  find(".open_menu").addEventListener("click", () => openMenu(!find(".menu").classList.contains("open")));
  body.addEventListener("click", (event) => {
    if (!event.target.closest(".open_menu, .language, .theme")) openMenu(false);
    if (!event.target.closest(".talks, .open_talks")) find("#chat").classList.remove("talks_open");
  });
  body.addEventListener("keydown", (event) => {
    if (event.code !== "Escape") return;
    openMenu(false);
    find("#chat").classList.remove("talks_open");
  });
}

async function main() {
  await loadTexts();
  firstLanguage("auto");
  onLogin(showLogin);
  window.addEventListener("hashchange", show);
  prepareHeader();
  preparePanel();
  find("#login form").addEventListener("submit", enter);
  await start();
}

main();
