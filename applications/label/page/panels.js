// The frame of the page, the log-in, and the panels over it: own labels, progress and agreement, help, flagging.

function drawFrame() {
  element.replaceChildren(el("div.label_app", { lang: language },
    el("header", {}, el("h1", {}, say("title")),
      el("div.counts", {}, el("div.bar", {}, el("span")), el("span.today"), el("span.mine_n")),
      el("nav", {}, props.guidelines ? button("guide_button.quiet", say("guide"), "G", openGuide) : null, button("mine.quiet", say("mine"), "", openMine), button("progress.quiet", say("progress"), "", openProgress),
        button("help.quiet", say("help"), "?", openHelp), button("theme.quiet", "◐", "", switchTheme, { title: say("theme"), "aria-label": say("theme") }),
        button("language.quiet", say("language"), "", switchLanguage), button("leave.quiet", say("leave"), "", leave))),
    el("form.login", { hidden: true }),
    el("p.loading", { role: "status" }, say("loading")),
    el("main.work", { hidden: true }, el("div.item", {},
      el("div.revising", { hidden: true }, el("span", {}, say("revising")), button("on", say("on"), "N", goOn)),
      el("section.talk", { tabIndex: 0, lang: "ko" }), el("h2.ask"), el("section.answers", { lang: "ko" }),
      el("input.comment", { type: "text", maxLength: 2000, placeholder: say("comment_hint"), "aria-label": say("comment"),
        oninput: (event) => { state.comment = event.target.value; } })),
      el("aside.guide.guide_text", { lang: "ko", "aria-label": say("guide") }, el("h2", {}, say("guide")), drawMarkdown(props.guidelines))),
    el("div.nothing", { hidden: true }, el("h2", {}, say("nothing_left")), el("p", {}, say("nothing_left_more")),
      button("again.primary", say("look_again"), "", lookAgain), button("undo", say("undo"), "U", undo)),
    el("footer.work", { hidden: true }, el("div.line", {}, el("div.summary"), el("div.notice", { role: "status", "aria-live": "polite" })),
      el("div.actions"), button("confirm.primary", say("confirm"), "Enter", confirm)),
    el("dialog.panel", { onclick: (event) => { if (event.target === find(".panel")) find(".panel").close(); } })));
  document.documentElement.lang = language;
  document.title = `${say("title")} · KoRLHF`;
  if (!props.guidelines) find(".guide").remove();
  else drawGuide();
}

function drawLogin(words = "") {
  find("header").hidden = true;
  element.querySelectorAll(".work, .nothing, .loading").forEach((part) => { part.hidden = true; });
  const form = find(".login");
  const name = el("input", { name: "name", autocomplete: "username", maxLength: 80, required: true,
    value: localStorage.getItem("korlhf_label_name") ?? "" });
  const password = props.passwords
    ? el("input", { name: "password", type: "password", autocomplete: "current-password", required: true }) : null;
  form.hidden = false;
  show(".login", el("h1", {}, say("title")), el("p", {}, say(props.passwords ? "intro_password" : "intro")),
    el("label", {}, say("name"), name), password && el("label", {}, say("password"), password),
    el("p.wrong", { role: "alert" }, words), el("button.enter.primary", { type: "submit" }, say("enter")),
    button("language.quiet", say("language"), "", switchLanguage));
  form.onsubmit = (event) => { event.preventDefault(); enter(name.value, password?.value ?? ""); };
  (name.value && password ? password : name).focus();
}

function switchLanguage() {
  language = language === "ko" ? "en" : "ko";
  localStorage.setItem("korlhf_label_language", language);
  if (state.editing !== null) closeEdit();
  drawFrame();
  if (!state.token) return drawLogin();
  drawPage();
}

function openPanel(title, ...children) {
  const panel = find(".panel");
  panel.replaceChildren(el("div.title", {}, el("h2", {}, title), button("quiet", say("close"), "Esc", () => panel.close())), ...children);
  if (!panel.open) panel.showModal();
}

function openHelp() {
  const rows = [["1–6", "help_pick"], ["=", "help_equal"], ["T", "help_tie"], ["B", "help_all_bad"], ["E", "help_edit"],
    ["C", "help_comment"], ["S", "help_skip"], ["F", "help_flag"], ["U", "help_undo"], ["N", "help_on"], ["Enter", "help_confirm"],
    ...(props.guidelines ? [["G", "help_guide"]] : [])];
  const line = ([key, text]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, say(text)));
  openPanel(say("help_title"), el("table", {}, rows.map(line)), el("p", {}, say("help_in_text")), el("p", {}, say("help_blind")));
}

async function openMine() {
  openPanel(say("mine"), el("ol.labels"), el("p.wait", {}, say("loading")));
  await moreMine(null);
}

async function moreMine(before) {
  const found = await ask("mine", { before });
  if (!found) return;
  const list = find(".labels");
  find(".panel .wait")?.remove();
  list.append(...found.labels.map(drawLabel));
  if (!list.children.length) list.append(say("no_labels"));
  element.querySelector(".panel > .more")?.remove();
  if (found.more) find(".panel").append(button("more", say("more"), "", () => moreMine(found.labels.at(-1).label)));
}

function drawLabel(label) {
  const about = [say(`kind_${label.kind}`), label.edited ? say("edited") : "", new Date(label.at).toLocaleString(language)];
  const again = () => {
    find(".panel").close();
    reopen(label.label + 1);
  };
  return el("li", {}, button("quiet", label.prompt, "", again), el("small", {}, about.filter(Boolean).join(" · ")));
}

async function openProgress() {
  openPanel(say("progress"), el("div.figures", {}, el("p", {}, say("loading"))));
  while (find(".panel").open && find(".figures")) {
    const found = await ask("progress", {});
    if (!found || !find(".figures")) return;
    drawFigures(found);
    await seconds(3);
  }
}

function drawFigures(found) {
  const row = (label, value, note = "") => el("tr", {}, el("td", {}, label), el("td.number", {}, value), el("td.note", {}, note));
  const { counts, people, agreement, needed } = found;
  const me = people.find((person) => person.me);
  const name = (n) => (n === me.number ? say("me", { name: me.name }) : say("annotator", { n }));
  const number = (value) => (value === null ? "–" : value.toFixed(2));
  const pairs = agreement.cohen.map((c) => row(`${say("cohen")}: ${name(c.first)}, ${name(c.second)}`, number(c.kappa),
    say("pair_n", { n: c.n })));
  show(".figures",
    el("table", {}, row(say("items"), counts.items), row(say("items_done", { n: needed }), counts.done),
      row(say("items_flagged"), counts.flagged), row(say("items_mine"), counts.mine)),
    el("h3", {}, say("labels_of")), el("table", {}, people.map((p) => row(name(p.number), p.labels))),
    el("h3", {}, say("agreement")),
    el("table", {}, row(say("percent"), agreement.percent === null ? "–" : `${(100 * agreement.percent).toFixed(1)}%`,
      agreement.percent_n ? say("judgement_n", { n: agreement.percent_n }) : say("none_yet")), pairs,
      needed > 2 ? row(say("fleiss", { n: needed }), number(agreement.fleiss), say("pair_n", { n: agreement.fleiss_n })) : null),
    el("p.note", {}, say("agreement_note")));
}

function openFlag() {
  const reason = (code, i) => el("label.reason", {}, el("input", { type: "radio", name: "reason", value: code, autofocus: i === 0 }),
    el("kbd", {}, String(i + 1)), say(`reason_${code}`));
  const note = el("input.flag_comment", { type: "text", maxLength: 2000, placeholder: say("comment_hint"), value: state.comment });
  const send = () => {
    const code = find(".reason input:checked")?.value ?? "";
    if (!code || (code === "other" && !note.value.trim())) {
      find(".wrong_flag").textContent = say(code ? "error_no_comment" : "error_no_reason");
      return;
    }
    find(".panel").close();
    submit({ kind: "flag", reason: code, comment: note.value });
  };
  openPanel(say("flag_title"), el("div.reasons", {}, props.reasons.map(reason)), note, el("p.note", {}, say("flag_note")),
    el("p.wrong_flag.wrong", { role: "alert" }), button("send_flag.primary", say("flag_send"), "Enter", send));
}
