/// <reference lib="dom" />
import { el } from "./dom.ts";

/** A box beside the pointer. For sight only: the same text reaches the keyboard by the lane's own value. */
export class Tooltip {
  readonly #box = el("div", { class: "tooltip", id: "tooltip", role: "tooltip", hidden: "" });

  constructor() {
    document.body.append(this.#box);
  }

  show(
    at: { readonly clientX: number; readonly clientY: number },
    content: { readonly head: string; readonly lines: readonly string[] },
  ): void {
    this.#box.replaceChildren(
      el("strong", {}, content.head),
      ...content.lines.map((line) => el("div", {}, line.length > 400 ? `${line.slice(0, 400)}…` : line)),
    );
    this.#box.hidden = false;
    const { offsetWidth, offsetHeight } = this.#box;
    const left = Math.min(at.clientX + 14, window.innerWidth - offsetWidth - 8);
    const below = at.clientY + 18;
    const top = below + offsetHeight > window.innerHeight ? at.clientY - offsetHeight - 12 : below;
    this.#box.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
  }

  hide(): void {
    this.#box.hidden = true;
  }
}
