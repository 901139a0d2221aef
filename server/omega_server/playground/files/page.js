/* The playground: what happens when. */

import * as api from "./api.js";
import * as code from "./code.js";
import * as pictures from "./pictures.js";
import { Turn, element } from "./view.js";

const $ = (id) => document.getElementById(id);
const settings = $("settings").querySelector("form").elements;
const NUMBERS = ["temperature", "max_tokens", "top_p", "top_k", "repetition_penalty", "seed"];
const KEY = "omega-api-key";

let model = "";
let draft = []; // pictures that wait to be sent
let said = []; // messages of the conversation so far
let lastBody = null; // what was sent last, for the code
let running = null; // the AbortController of the answer that is coming
let pasted = 0;
const known = new Map(); // data: URI -> picture, for the code

/* --- The server --- */

function key() {
  return settings.key.value.trim();
}

function tell(state, text) {
  $("server").dataset.state = state;
  $("server-text").textContent = text;
}

async function look() {
  try {
    const state = await api.state();
    if (state !== "ready") {
      tell("busy", state === "loading" ? "the model is being loaded" : "the server is stopping");
      setTimeout(look, 1000);
      return;
    }
    model = (await api.model(key())).id;
    tell("ready", model);
  } catch (error) {
    tell("failed", error.code === "invalid_api_key" ? "needs an API key" : "the server does not answer");
    if (error.status === undefined) setTimeout(look, 3000);
  }
}

/* --- Pictures --- */

async function add(files) {
  const refusals = [];
  for (const file of files) {
    const refusal = pictures.refused(file);
    if (refusal) refusals.push(refusal);
    // What a browser pastes has always the same name.
    else put(await pictures.read(file, file.name === "image.png" ? `pasted-${++pasted}.png` : file.name));
  }
  notice(refusals.join(" "));
  $("question").focus();
}

function put(picture) {
  known.set(picture.data, picture);
  draft.push(picture);
  showDraft();
}

function showDraft() {
  $("pictures").replaceChildren(
    ...draft.map((picture) => {
      const remove = element("button", { type: "button", textContent: "×", ariaLabel: `Remove ${picture.name}` });
      remove.addEventListener("click", () => {
        draft = draft.filter((other) => other !== picture);
        showDraft();
        $("question").focus();
      });
      return element("li", {}, element("img", { src: picture.preview, alt: picture.name, title: picture.name }), remove);
    }),
  );
  refresh();
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/* --- Asking --- */

function message() {
  const text = $("question").value.trim();
  if (!draft.length) return { role: "user", content: text };
  const parts = draft.map((picture) => ({ type: "image_url", image_url: { url: picture.data } }));
  return { role: "user", content: text ? [...parts, { type: "text", text }] : parts };
}

function body(messages) {
  const system = settings.system.value.trim();
  const chosen = Object.fromEntries(
    NUMBERS.filter((name) => settings[name].value !== "").map((name) => [name, settings[name].valueAsNumber]),
  );
  return {
    ...(model ? { model } : {}),
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    ...chosen,
    stream: true,
    stream_options: { include_usage: true },
  };
}

function hasDraft() {
  return draft.length > 0 || $("question").value.trim() !== "";
}

async function send() {
  if (running || !hasDraft()) return;
  const asked = message();
  const turn = new Turn(draft, $("question").value.trim());
  lastBody = body([...said, asked]);
  running = new AbortController();
  $("question").value = "";
  draft = [];
  notice("");
  showDraft();
  $("conversation").append(turn.element);
  turn.element.scrollIntoView({ block: "end" });
  try {
    await answer(turn, lastBody, running.signal);
    // What was stopped half-way is still what the model said. Nothing at all is not.
    if (turn.text) said.push(asked, { role: "assistant", content: turn.text });
  } finally {
    running = null;
    turn.end();
    refresh();
    $("question").focus();
  }
}

async function answer(turn, request, signal) {
  const began = performance.now();
  const measured = { first: null, last: null, usage: null, finish: null };
  try {
    for await (const chunk of api.ask(request, key(), signal)) {
      const [choice] = chunk.choices;
      if (choice?.delta.content) {
        measured.last = performance.now() - began;
        measured.first ??= measured.last;
        follow(() => turn.write(choice.delta.content));
      }
      measured.finish = choice?.finish_reason ?? measured.finish;
      measured.usage = chunk.usage ?? measured.usage;
    }
  } catch (error) {
    if (signal.aborted) measured.finish = "stopped";
    else if (error instanceof TypeError) turn.fail(new Error("The server cannot be reached."));
    else turn.fail(error, error.code === "invalid_api_key" ? openKey : null);
    if (!signal.aborted) look();
  }
  follow(() => turn.measure(measured));
}

/** Change what is shown, and stay at its end if that is where the reader is. */
function follow(change) {
  const box = document.querySelector("main");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  change();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function refresh() {
  const begun = $("conversation").childElementCount > 0;
  $("welcome").hidden = begun;
  $("new").hidden = !begun;
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
  $("send").disabled = !hasDraft();
  $("question").placeholder = begun ? "Ask more" : "Ask a question";
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function startAgain() {
  running?.abort();
  said = [];
  lastBody = null;
  $("conversation").replaceChildren();
  refresh();
  $("question").focus();
}

/* --- Dialogs --- */

function openKey() {
  $("settings").showModal();
  settings.key.focus();
}

function saveKey() {
  if (key()) sessionStorage.setItem(KEY, key());
  else sessionStorage.removeItem(KEY);
}

function showCode(language) {
  const request = hasDraft() || !lastBody ? body([...said, hasDraft() ? message() : { role: "user", content: "Hello" }]) : lastBody;
  $("code-text").textContent = code[language](request, known, api.BASE, key() !== "");
  $("code-text").setAttribute("aria-labelledby", `tab-${language}`);
  for (const name of ["curl", "python"]) {
    $(`tab-${name}`).setAttribute("aria-selected", String(name === language));
    $(`tab-${name}`).tabIndex = name === language ? 0 : -1;
  }
  const notes = [];
  if (JSON.stringify(request).includes('"image_url"')) notes.push("Pictures are read from the directory that it runs in.");
  if (key()) notes.push("Put the key into the variable OMEGA_API_KEY.");
  $("code-note").textContent = notes.join(" ");
  $("copy").textContent = "Copy";
}

async function copy() {
  const text = $("code-text").textContent;
  try {
    await navigator.clipboard.writeText(text);
    $("copy").textContent = "Copied";
  } catch {
    // Without https browsers lend no clipboard: select it, and the user's own copy works.
    getSelection().selectAllChildren($("code-text"));
    $("copy").textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C";
  }
}

/* --- What people do --- */

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("question").addEventListener("input", refresh);
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) running?.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", startAgain);

for (const id of ["choose", "welcome-choose"]) $(id).addEventListener("click", () => $("files").click());
$("files").addEventListener("change", async () => {
  await add([...$("files").files]);
  $("files").value = "";
});
$("example").addEventListener("click", async () => {
  put(await pictures.example());
  $("question").value = "What does the image show?";
  refresh();
  $("question").focus();
});
document.addEventListener("paste", (event) => {
  if (document.querySelector("dialog[open]") || !event.clipboardData.files.length) return;
  event.preventDefault();
  add([...event.clipboardData.files]);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add([...event.dataTransfer.files]);
});

$("show-settings").addEventListener("click", () => $("settings").showModal());
$("settings").addEventListener("close", () => {
  saveKey();
  look();
});
$("show-code").addEventListener("click", () => {
  showCode("curl");
  $("code").showModal();
});
for (const name of ["curl", "python"]) {
  $(`tab-${name}`).addEventListener("click", () => showCode(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "curl" ? "python" : "curl";
    showCode(other);
    $(`tab-${other}`).focus();
  });
}
$("copy").addEventListener("click", copy);

settings.key.value = sessionStorage.getItem(KEY) ?? "";
refresh();
look();
$("question").focus();
