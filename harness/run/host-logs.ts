import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import type { HostRole } from "../base/timeline.ts";
import type { LogSink } from "../fleet/vm.ts";
import type { Timeline } from "./timeline.ts";

/** A guest may write to its console for ever: no log of a run becomes larger. What is in it is its beginning. */
const LOG_BYTES = 64 * 2 ** 20;

interface LogFile {
  readonly stream: WriteStream;
  bytes: number;
  /** Lines for which there was no room any more. */
  left_out: number;
}

/**
 * The log files of a run, one for each log of each host, in the run's folder; lines carry the timeline's time. One that is
 * full ends with a line that says how many more there would be.
 */
export class HostLogs implements AsyncDisposable {
  readonly #folder: string;
  readonly #timeline: Pick<Timeline, "now_ms">;
  readonly #most_bytes: number;
  readonly #files = new Map<string, LogFile>();

  constructor(folder: string, timeline: Pick<Timeline, "now_ms">, most_bytes = LOG_BYTES) {
    this.#folder = folder;
    this.#timeline = timeline;
    this.#most_bytes = most_bytes;
  }

  /** Where a host's logs go; a file is made with its first line. */
  readonly of = (role: HostRole): LogSink => {
    return (name, line) => {
      const file = `${role}-${name}.log`;
      let log = this.#files.get(file);
      if (log === undefined) {
        log = { stream: createWriteStream(join(this.#folder, file)), bytes: 0, left_out: 0 };
        this.#files.set(file, log);
      }
      const written = `${this.#timeline.now_ms.toFixed(3)} ${line}\n`;
      log.bytes += Buffer.byteLength(written);
      if (log.bytes > this.#most_bytes) log.left_out += 1;
      else log.stream.write(written);
    };
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#files.values()].map(({ stream, left_out }) => {
        if (left_out > 0)
          stream.write(`${this.#timeline.now_ms.toFixed(3)} the log is full: ${left_out} more lines are not in it\n`);
        return new Promise((resolve) => stream.end(resolve));
      }),
    );
  }
}
