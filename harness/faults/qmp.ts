import { messageOf, WaitTimeoutError } from "../base/errors.ts";
import type { AnswerExpected } from "../base/run-record.ts";
import type { JsonValue } from "../base/timeline.ts";
import { QmpCommandError } from "../qemu/qmp.ts";
import type { Fault, OnHost } from "./fault.ts";

export interface Qmp extends OnHost {
  readonly fault: "qmp";
  readonly command: string;
  readonly arguments?: { readonly [name: string]: JsonValue };
  /** Asked out-of-band, on the monitor that has its own thread. */
  readonly oob?: true;
  /** So long an answer is waited for; default ANSWER_MS. A refusal is an answer. */
  readonly within_ms?: number;
  /** Whether that it is answered in time is right ("in-time", the default) or wrong; the run is judged by it (harness/checks/answers.ts). */
  readonly answer?: AnswerExpected;
}

export const ANSWER_MS = 5_000;

/**
 * Asks a monitor of the host's QEMU for something, as an operator or a management layer may at any moment. How long the
 * answer took, or that none came within the bound, stands on the timeline (`qmp.answer`).
 */
export const qmp: Fault<Qmp> = {
  name: "qmp",
  where: ({ host, command, oob }) => `${command} on ${host}${oob === true ? ", out-of-band" : ""}`,
  async inject(spec, { monitor, emit, id }) {
    const { host, command, oob = false, within_ms = ANSWER_MS } = spec;
    const client = monitor?.(host, oob ? "oob" : "control");
    if (client === undefined) throw new Error(`there is no monitor of a QEMU on ${host} that could be asked`);
    const began_ms = performance.now();
    const tell = (answered: boolean, error?: string): void =>
      emit?.(host, {
        kind: "qmp.answer",
        id: id ?? "",
        command,
        answered,
        answer_ms: performance.now() - began_ms,
        ...(error === undefined ? {} : { error }),
      });
    try {
      await client.executeRaw(command, spec.arguments, { timeout_ms: within_ms, oob });
      tell(true);
    } catch (error) {
      if (error instanceof QmpCommandError) tell(true, error.message);
      else if (error instanceof WaitTimeoutError) tell(false);
      else tell(false, messageOf(error));
    }
    return undefined;
  },
};
