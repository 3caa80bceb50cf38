import type { LogFile } from "./files.ts";

/** A file that stays open for those who still read it when the log has gone on to another. */
export class SharedFile {
  readonly file: LogFile;
  #users = 1;

  constructor(file: LogFile) {
    this.file = file;
  }

  retain(): this {
    if (this.#users === 0) throw new Error("the log's file is closed");
    this.#users += 1;
    return this;
  }

  /** The last one closes it. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users === 0) await this.file.close();
  }
}
