// The server: one call, or a stream of events. Errors come as {error: code, ...}, for which texts.json has words; "offline" is our own.

// After these a message counts as not sent: it goes back into the box.
export const NOT_TAKEN = ["long", "full", "busy", "crowded", "long_context", "empty", "malformed", "expired", "who"];
const TOKEN = "korlhf_web_demo_session";  // of the conversation in this tab
export const COMPARED = "korlhf_web_demo_compared";  // of the comparison
const LEAVING = 1000;  // milliseconds that a tab which is loaded again may take to let go of its session
let told = () => undefined;
let held = null;
let letGo = () => undefined;

// Function that is called when the server asks for a log-in.
export function onLogin(handler) {
  told = handler;
}

export function session() {
  return sessionStorage.getItem(TOKEN);
}

// A conversation becomes this tab's; the one before may go to another tab.
export function setSession(token) {
  sessionStorage.setItem(TOKEN, token);
  if (token !== held) hold(token);
}

// A duplicated tab has a copy of the other's token. Two tabs on one talk would cut off each other's turns, so the copy is not used.
export async function dropCopiedSession() {
  if (session() && !(await hold(session()))) forgetSession();
}

// Whether no other tab has the conversation. It is this tab's until the tab takes another, is closed or loaded again.
export function hold(token) {
  if (token === held || !navigator.locks) return Promise.resolve(true);  // over plain HTTP from another machine there are no locks
  return new Promise((resolve) => {
    navigator.locks.request(`${TOKEN} ${token}`, { signal: AbortSignal.timeout(LEAVING) }, () => {
      letGo();
      held = token;
      resolve(true);
      return new Promise((done) => { letGo = done; });
    }).catch(() => resolve(false));
  });
}

function request(name, values, signal) {
  return fetch(`api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, credentials: "same-origin", signal,
    body: JSON.stringify({ session: session(), ...values }) });
}

export function forgetSession() {
  sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(COMPARED);
}

async function refusal(response) {
  const found = await response.json();
  if (found.error === "who") told();
  return found.error ? found : { error: "offline" };
}

export async function ask(name, values = {}) {
  try {
    const response = await request(name, values);
    return response.ok ? await response.json() : await refusal(response);
  } catch (error) {
    console.warn(error);
    return { error: "offline" };
  }
}

// The events of an answer. A stream that breaks off ends with {error: "offline"}, one that the signal ends with nothing.
export async function* events(name, values, signal) {
  try {
    const response = await request(name, values, signal);
    if (!response.ok) {
      yield await refusal(response);
      return;
    }
    yield* lines(response.body);
  } catch (error) {
    if (signal.aborted) return;
    console.warn(error);
    yield { error: "offline" };
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    for (const line of found) yield JSON.parse(line);
  }
}
