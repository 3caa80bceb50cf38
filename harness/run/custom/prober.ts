import type { Duplex } from "node:stream";
import { type Probe, probeText } from "../../base/configuration.ts";
import { messageOf } from "../../base/errors.ts";
import { LineCutter } from "../../base/lines.ts";
import type { Emit, HostRole } from "../../base/timeline.ts";
import { pause, waitFor, within } from "../../base/wait.ts";
import type { ProbeFindings } from "../../checks/probes.ts";
import type { Reached } from "../guests/guest.ts";
import type { Reach } from "../net/reach.ts";
import { plainText } from "./plain-text.ts";

/** Between two answers of a probe that asks. */
const THINK_MS = 100;
/** A guest that is busy answers within this; what is typed while nobody passes it on is lost, and is typed again. */
const ANSWER_MS = 2_000;
/** For a probe to answer once more in the end. */
const LAST_MS = 20_000;
const LAST_BYTES_MAX = 300;

interface Watched {
  readonly probe: Probe;
  readonly pattern: RegExp | undefined;
  answers: number;
  last: string | undefined;
}

/**
 * Asks a guest of which nothing is known what its user says tells that it lives, again and again, and listens to its
 * console. Answers are what it has done, by the host from which they came.
 */
export class Prober implements Disposable {
  readonly #watched: readonly Watched[];
  readonly #emit: Emit;
  readonly #stop = new AbortController();
  readonly #steps = new Map<HostRole, number>();
  #counted = 0;
  #told = 0;
  #line: Reached | undefined;
  #reach: Reach | undefined;
  #asking = false;
  #resting = false;
  #looks = 0;

  constructor(probes: readonly Probe[], emit: Emit) {
    this.#watched = probes.map((probe) => ({ probe, pattern: patternOf(probe), answers: 0, last: undefined }));
    this.#emit = emit;
  }

  /** Of each probe, how often it has answered by now. */
  get answers(): readonly number[] {
    return this.#watched.map(({ answers }) => answers);
  }

  /** How often each has answered, or what was heard last, in words. */
  get told(): string {
    return this.#watched
      .map(({ probe, answers, last }) => `${probeText(probe)}: ${answers > 0 ? answers : (last ?? "nothing yet")}`)
      .join("; ");
  }

  /** How far the VM was when it was last seen on a host. */
  steps(host: HostRole): number | undefined {
    return this.#steps.get(host);
  }

  /** Something that only a VM that lives does came from that host. */
  saw(host: HostRole): void {
    this.#counted += 1;
    this.#steps.set(host, this.#counted + this.#told);
  }

  onConsole(host: HostRole, raw: string): void {
    const line = plainText(raw);
    for (const [cpu, watched] of this.#watched.entries()) {
      if (!("console" in watched.probe)) continue;
      const found = watched.pattern?.exec(line);
      if (!found) continue;
      watched.answers += 1;
      watched.last = line.slice(0, LAST_BYTES_MAX);
      const number = Number(found[1]);
      if (found[1] === undefined || !Number.isSafeInteger(number)) {
        this.saw(host);
        continue;
      }
      // What the world was told once may not go back (harness/checks/never-back.ts).
      this.#emit(host, { kind: "guest.progress", host, cpu, step: number, outside: true });
      this.#told = number;
      this.#steps.set(host, this.#counted + this.#told);
    }
  }

  /** From now on its second serial line is reached there. */
  moveTo(line: Reached | undefined): void {
    this.#line = line;
  }

  /** @param reach absent: it has no network card */
  start(reach: Reach | undefined): void {
    this.#reach = reach;
    if (this.#asking) return;
    this.#asking = true;
    for (const watched of this.#watched) if (!("console" in watched.probe)) void this.#askOn(watched);
  }

  /** Asks no more, but for whoever looks. */
  rest(): void {
    this.#resting = true;
  }

  /** Waits until every probe has answered once more. */
  async look(): Promise<ProbeFindings> {
    this.#looks += 1;
    try {
      return await this.#look();
    } finally {
      this.#looks -= 1;
    }
  }

  async #look(): Promise<ProbeFindings> {
    return await Promise.all(
      this.#watched.map(async (watched) => {
        const [before, since_ms] = [watched.answers, performance.now()];
        const more = { what: "one more answer", timeout_ms: LAST_MS, signal: this.#stop.signal };
        const came = await waitFor(more, () => (watched.answers > before ? true : undefined)).catch(() => false);
        const { probe, last } = watched;
        return {
          probe: probeText(probe),
          ...(came ? { answered_ms: Math.round(performance.now() - since_ms) } : {}),
          ...(last === undefined ? {} : { last }),
        };
      }),
    );
  }

  async #askOn(watched: Watched): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await pause(THINK_MS, signal).catch(() => undefined);
      if (this.#resting && this.#looks === 0) continue;
      try {
        const host = await this.#ask(watched);
        if (signal.aborted) return;
        watched.answers += 1;
        this.saw(host);
      } catch (error) {
        watched.last = messageOf(error).split("\n")[0]?.slice(0, LAST_BYTES_MAX);
      }
    }
  }

  /** @returns the host from which the answer came */
  async #ask(watched: Watched): Promise<HostRole> {
    const { probe } = watched;
    if ("serial" in probe) return await this.#type(watched, probe.serial);
    const reach = this.#reach;
    if (reach === undefined || "console" in probe) throw new Error("the VM has no network card");
    if ("tcp" in probe) {
      (await reach.dial(probe.tcp, ANSWER_MS)).destroy();
      watched.last = "it takes connections";
      return reach.from;
    }
    watched.last = await httpStatus(reach, probe.http, probe.path);
    return reach.from;
  }

  async #type(watched: Watched, command: string): Promise<HostRole> {
    const where = this.#line;
    if (where === undefined || !where.alive) throw new Error("nobody has the VM");
    const line: Duplex = await where.com2();
    line.on("error", () => undefined);
    const cutter = new LineCutter();
    try {
      const answered = new Promise<string>((resolve, reject) => {
        line.once("close", () => reject(new Error("the line was closed")));
        line.on("data", (bytes: Buffer) => {
          // The echo of what was typed is no answer.
          for (const text of cutter.push(bytes.toString("latin1")).map(plainText))
            if (!text.includes(command) && watched.pattern?.test(text)) resolve(text);
        });
      });
      line.write(`\n${command}\n`);
      const what = `an answer to ${command} on the second serial line`;
      const text = await within({ what, timeout_ms: ANSWER_MS, signal: this.#stop.signal }, answered);
      watched.last = text.slice(0, LAST_BYTES_MAX);
      return where.host.role;
    } finally {
      line.destroy();
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Error("the run is over"));
  }
}

function patternOf(probe: Probe): RegExp | undefined {
  if ("console" in probe) return new RegExp(probe.console);
  return "serial" in probe ? new RegExp(probe.answer) : undefined;
}

/** @returns the first line of the answer. @throws Error where none comes, or one that tells of an error */
async function httpStatus(reach: Reach, port: number, path: string): Promise<string> {
  const socket = await reach.dial(port, ANSWER_MS);
  try {
    const answered = new Promise<string>((resolve, reject) => {
      let text = "";
      socket.on("data", (bytes: Buffer) => {
        text += bytes.toString("latin1");
        const end = text.indexOf("\r\n");
        if (end >= 0) resolve(text.slice(0, end));
      });
      socket.once("close", () => reject(new Error("the connection ended without an answer")));
    });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n`);
    const status = await within({ what: `an answer to GET ${path}`, timeout_ms: ANSWER_MS }, answered);
    if (!/^HTTP\/1\.[01] [123]\d\d/.test(status)) throw new Error(`GET ${path}: ${status}`);
    return status;
  } finally {
    socket.destroy();
  }
}
