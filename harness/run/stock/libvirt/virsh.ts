import { messageOf } from "../../../base/errors.ts";
import type { Emit } from "../../../base/timeline.ts";
import { within } from "../../../base/wait.ts";
import type { StartedHost } from "../../../fleet/host.ts";
import type { HostProcess } from "../../../fleet/process.ts";

/** How a host's own daemon is reached. */
export const CONNECTION = ["--connect", "qemu:///system"];
/** What an answer is cut to on the timeline. */
const SAID_MAX = 400;

/** What came of a command: virsh knows the codes 0 and 1. */
export interface Answer {
  /** null: it was killed, or its host went with it, or it was not waited for any longer. */
  readonly code: number | null;
  /** What it said, in one line. */
  readonly said: string;
  readonly took_ms: number;
}

/** A virsh that runs in a host. */
export interface Asking {
  readonly process: HostProcess;
  readonly answered: Promise<Answer>;
}

/** Starts virsh in a host; what comes of it goes onto the timeline. */
export async function ask(host: StartedHost, words: readonly string[], emit: Emit): Promise<Asking> {
  const began_ms = performance.now();
  const process = await host.spawn(["virsh", ...CONNECTION, "--quiet", ...words]);
  const lines: string[] = [];
  process.onLine((line) => lines.push(line));
  const answered = process.exited.then((code): Answer => {
    const said = lines
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .join("; ");
    const took_ms = performance.now() - began_ms;
    emit(host.role, { kind: "manager.asked", command: words.join(" "), code, took_ms, said: said.slice(0, SAID_MAX) });
    return { code, said, took_ms };
  });
  return { process, answered };
}

/** Asks, and waits for the answer for so long. It never throws: what goes wrong is an answer of code null. */
export async function askFor(
  host: StartedHost,
  words: readonly string[],
  emit: Emit,
  timeout_ms: number,
): Promise<Answer> {
  const began_ms = performance.now();
  try {
    const asking = async (): Promise<Answer> => (await ask(host, words, emit)).answered;
    return await within({ what: `virsh ${words[0]} on ${host.role}`, timeout_ms }, asking());
  } catch (error) {
    return { code: null, said: messageOf(error).split("\n")[0] ?? "", took_ms: performance.now() - began_ms };
  }
}
