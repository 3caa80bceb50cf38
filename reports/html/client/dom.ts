/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

/** Makes an element. Children that are strings become text, never markup: nothing from a log is ever parsed. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The element with that id, which the template promised to be there. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element #${id}`);
  return found;
}

/** Data that the page carries in a script element of type application/json. */
export function embedded<T>(id: string): T {
  return JSON.parse(byId(id).textContent ?? "null") as T;
}

/** The same, also where the page carries the data packed (type application/octet-stream, base64 of gzip). */
export async function embeddedOrPacked<T>(id: string): Promise<T> {
  const element = byId(id);
  if (element.getAttribute("type") === "application/json") return embedded<T>(id);
  const packed = Uint8Array.from(atob((element.textContent ?? "").trim()), (character) => character.charCodeAt(0));
  const text = new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")));
  return (await text.json()) as T;
}

/** Runs `work` at most once a frame, however often it is asked for. */
export function oncePerFrame(work: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
