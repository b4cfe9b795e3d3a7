// The server: one call, or a stream of events. Errors come as {error: code, ...}, for which texts.json has words; "offline" is our own.

// After these a message counts as not sent: it goes back into the box.
export const NOT_TAKEN = ["long", "full", "busy", "crowded", "long_context", "empty", "malformed", "expired", "who"];
const TOKEN = "korlhf_web_demo_session";
const LEAVING = 1000;  // milliseconds that a tab which is loaded again may take to let go of its session
let told = () => undefined;
let held = null;

// Function that is called when the server asks for a log-in.
export function onLogin(handler) {
  told = handler;
}

function session() {
  return sessionStorage.getItem(TOKEN);
}

export function setSession(token) {
  sessionStorage.setItem(TOKEN, token);
  if (token !== held) hold(token);
}

// A duplicated tab has a copy of the other's token. Two tabs on one talk would cut off each other's turns, so the copy is not used.
export async function dropCopiedSession() {
  if (session() && session() !== held && !(await hold(session()))) forgetSession();
}

// Whether no other tab has the session. It is this tab's until the tab is closed or loaded again.
function hold(token) {
  if (!navigator.locks) return Promise.resolve(true);  // the browser has none over plain HTTP from another machine
  return new Promise((resolve) => {
    navigator.locks.request(`${TOKEN} ${token}`, { signal: AbortSignal.timeout(LEAVING) }, () => {
      held = token;
      resolve(true);
      return new Promise(() => undefined);
    }).catch(() => resolve(false));
  });
}

function request(name, values, signal) {
  return fetch(`api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, credentials: "same-origin", signal,
    body: JSON.stringify({ session: session(), ...values }) });
}

export function forgetSession() {
  sessionStorage.removeItem(TOKEN);
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
