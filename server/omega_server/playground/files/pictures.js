/* Pictures: from files to what the API takes. */

const KINDS = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif"];

/** Why a file cannot be sent, or null. The server judges the rest. */
export function refused(file) {
  return KINDS.includes(file.type) ? null : `${file.name} is no JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF picture.`;
}

/** A picture that is ready to be shown and sent. */
export async function read(file, name = file.name) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  return { name, type: file.type, data: `data:${file.type};base64,${base64(bytes)}`, preview: URL.createObjectURL(file) };
}

function base64(bytes) {
  const parts = [];
  for (let at = 0; at < bytes.length; at += 0x8000) parts.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000)));
  return btoa(parts.join(""));
}

/** A picture for somebody who has none at hand. */
export async function example() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 360];
  const paint = canvas.getContext("2d");
  const ground = paint.createLinearGradient(0, 0, 0, 360);
  ground.addColorStop(0, "#d2c4d6");
  ground.addColorStop(1, "#e8e2fa");
  paint.fillStyle = ground;
  paint.fillRect(0, 0, 640, 360);
  paint.fillStyle = "#22b814";
  paint.beginPath();
  paint.arc(160, 90, 72, 0, 2 * Math.PI);
  paint.fill();
  paint.fillStyle = "#2b57d0";
  paint.fillRect(415, 205, 130, 130);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return read(blob, "example.png");
}
