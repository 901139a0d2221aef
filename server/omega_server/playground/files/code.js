/* A request, written as a program. Pictures are files of the program's directory; the key is a variable of the environment. */

const PLACE = (index) => `\u0000${index}\u0000`;
const OPENAI = new Set(["model", "messages", "temperature", "top_p", "max_tokens", "seed"]);

/** Replaces each picture's data by a place, and lists the pictures. */
function apart(body, pictures) {
  const used = [];
  const messages = body.messages.map((message) => {
    if (typeof message.content === "string") return message;
    const content = message.content.map((part) => {
      if (part.type !== "image_url") return part;
      used.push(pictures.get(part.image_url.url));
      return { type: "image_url", image_url: { url: PLACE(used.length - 1) } };
    });
    return { ...message, content };
  });
  const { stream, stream_options, ...rest } = body;
  return [{ ...rest, messages }, used];
}

function shellWord(text) {
  return /^[\w./-]+$/.test(text) && !text.startsWith("-") ? text : `'./${text.replaceAll("'", "'\\''")}'`;
}

export function curl(body, pictures, base, withKey) {
  const [request, used] = apart(body, pictures);
  let json = JSON.stringify({ ...request, stream: true }, null, 2);
  json = json.replace(/[\\$`]/g, "\\$&"); // what the shell would read inside a here-document
  used.forEach((picture, index) => {
    const file = `data:${picture.type};base64,$(base64 < ${shellWord(picture.name)} | tr -d '\\n')`;
    json = json.replace(`\\\\u0000${index}\\\\u0000`, () => file);
  });
  const key = withKey ? ' \\\n  -H "Authorization: Bearer $OMEGA_API_KEY"' : "";
  return `curl -sS -N ${base}/chat/completions \\\n  -H "Content-Type: application/json"${key} \\\n  --data-binary @- <<EOF\n${json}\nEOF`;
}

export function python(body, pictures, base, withKey) {
  const [request, used] = apart(body, pictures);
  const values = [];
  const more = [];
  for (const [name, value] of Object.entries(request)) {
    // A number, a text, a list or an object in JSON is the same in Python; nothing else occurs here.
    let text = JSON.stringify(value, null, 4).replaceAll("\n", "\n    ");
    used.forEach((picture, index) => {
      const call = `picture(${JSON.stringify(picture.name)}, ${JSON.stringify(picture.type)})`;
      text = text.replace(`"\\u0000${index}\\u0000"`, () => call);
    });
    if (OPENAI.has(name)) values.push(`    ${name}=${text},`);
    else more.push(`${JSON.stringify(name)}: ${text}`);
  }
  if (more.length) values.push(`    extra_body={${more.join(", ")}},`);
  const imports = [used.length ? "import base64" : "", withKey ? "import os" : ""].filter(Boolean);
  return [
    ...imports,
    ...(imports.length ? [""] : []),
    "from openai import OpenAI",
    "",
    ...(used.length
      ? [
          "",
          "def picture(path, kind):",
          '    with open(path, "rb") as file:',
          '        return f"data:{kind};base64,{base64.b64encode(file.read()).decode()}"',
          "",
          "",
        ]
      : []),
    `client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${withKey ? 'os.environ["OMEGA_API_KEY"]' : '"none"'})`,
    "stream = client.chat.completions.create(",
    ...values,
    "    stream=True,",
    ")",
    "for chunk in stream:",
    '    print(chunk.choices[0].delta.content or "", end="", flush=True)',
    "print()",
  ].join("\n");
}
