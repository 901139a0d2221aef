/* What is shown of a conversation. Only text is ever put into the page: an answer cannot bring markup. */

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** One question and its answer. */
export class Turn {
  constructor(pictures, question) {
    this.answer = element("div", { className: "answer" });
    this.figures = element("p", { className: "figures" });
    const shown = pictures.map((picture) => element("img", { src: picture.preview, alt: picture.name }));
    const asked = element("div", { className: "asked" });
    if (shown.length) asked.append(element("div", { className: "shown" }, ...shown));
    if (question) asked.append(element("p", { textContent: question }));
    this.element = element("li", { className: "turn answering" }, asked, this.answer, this.figures);
    this.text = "";
  }

  write(text) {
    this.text += text;
    this.answer.append(text);
  }

  end() {
    this.element.classList.remove("answering");
    if (!this.text) this.answer.remove();
  }

  /** `timing` in milliseconds since the request was sent; `usage` as the server says it, or null. */
  measure({ first, last, usage, finish }) {
    const shown = [];
    if (first !== null) shown.push(["first token", `${(first / 1000).toFixed(2)} s`]);
    if (usage && usage.completion_tokens > 1 && last > first) {
      const rate = ((usage.completion_tokens - 1) * 1000) / (last - first);
      shown.push(["tokens/s", rate.toFixed(rate < 100 ? 1 : 0)]);
    }
    if (usage) {
      const details = usage.prompt_tokens_details ?? {};
      shown.push(["prompt", usage.prompt_tokens]);
      shown.push(["image", details.image_tokens ?? 0]);
      shown.push(["cached", details.cached_tokens ?? 0]);
      shown.push(["answer", usage.completion_tokens]);
    }
    if (finish === "length") shown.push(["ended by", "max tokens"]);
    if (finish === "stopped") shown.push(["ended by", "you"]);
    this.figures.replaceChildren(
      ...shown.map(([name, value]) => element("span", { title: TITLES[name] ?? "" }, `${name} `, element("b", { textContent: value }))),
    );
  }

  fail(error, askForKey) {
    const details = [error.status, error.code, error.param, error.request && `request ${error.request}`];
    const box = element("div", { className: "fault", role: "alert" });
    box.append(element("strong", { textContent: error.message }));
    box.append(element("code", { textContent: details.filter(Boolean).join(" · ") }));
    if (askForKey) box.append(element("button", { type: "button", className: "link", textContent: "Enter the API key", onclick: askForKey }));
    this.element.insertBefore(box, this.figures);
  }
}

const TITLES = {
  "first token": "From sending to the first piece of the answer",
  "tokens/s": "Tokens of the answer per second, after the first",
  prompt: "Tokens of everything that was sent",
  image: "Tokens of the prompt that stand for pictures",
  cached: "Tokens of the prompt that were computed before",
  answer: "Tokens of the answer",
};
