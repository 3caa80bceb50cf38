/** Cuts text into lines; what follows the last line's end waits for more. */
export class LineCutter {
  #rest = "";

  /** Characters of the line that has begun. */
  get waiting(): number {
    return this.#rest.length;
  }

  /** The lines that this text completes, without their ends. */
  push(text: string): string[] {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.map((line) => line.replace(/\r$/, ""));
  }
}
