import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import type { HostRole } from "../base/timeline.ts";
import type { LogSink } from "../fleet/vm.ts";
import type { Timeline } from "./timeline.ts";

/** The log files of a run, one for each log of each host, in the run's folder; lines carry the timeline's time. */
export class HostLogs implements AsyncDisposable {
  readonly #folder: string;
  readonly #timeline: Timeline;
  readonly #files = new Map<string, WriteStream>();

  constructor(folder: string, timeline: Timeline) {
    this.#folder = folder;
    this.#timeline = timeline;
  }

  /** Where a host's logs go; a file is made with its first line. */
  readonly of = (role: HostRole): LogSink => {
    return (name, line) => {
      const file = `${role}-${name}.log`;
      let stream = this.#files.get(file);
      if (!stream) {
        stream = createWriteStream(join(this.#folder, file));
        this.#files.set(file, stream);
      }
      stream.write(`${this.#timeline.now_ms.toFixed(3)} ${line}\n`);
    };
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => new Promise((resolve) => file.end(resolve))));
  }
}
