import { AGENT_FILES } from "../fleet/agent-files.ts";
import { AgentTrouble, type FAILING_CALLS, type FILE_ERRORS } from "../fleet/trouble.ts";
import { type Fault, type FaultContext, type OnHost, pidOf } from "./fault.ts";

/**
 * `promises`: what an agent has on its disk. `memory`: what it has on its tmpfs, the escrow's log and base among it. `calls`
 * that fail; absent: those that write. `error`: EIO, or ENOSPC as of a disk that is full; absent: EIO.
 */
export type IoError = OnHost & {
  readonly fault: "io-error";
  readonly what: "promises" | "memory";
  readonly calls?: keyof typeof FAILING_CALLS;
  readonly error?: keyof typeof FILE_ERRORS;
};

/** An agent that runs writes its log and reads its clock all the time; a promise it writes when there is a vote. */
const STRIKES_MS = 10_000;

/**
 * An agent's storage fails: whatever it writes, syncs, makes, renames or removes there (or reads) is an error. It has struck
 * once a call has failed; until then nothing has happened. A host has no block device of its own that could fail, and
 * no right to one: so calls fail where the agent makes them, at the C library, by a library that is preloaded into it.
 */
export const ioError: Fault<IoError> = {
  name: "io-error",
  where: ({ host, what, calls = "writes", error = "eio" }) =>
    `${what} of ${host}, ${calls === "all" ? "reads and writes" : calls}: ${error === "eio" ? "EIO" : "ENOSPC"}`,
  async inject({ host, what, calls = "writes", error = "eio" }, { fleet, pid }) {
    await agentOf({ host }, { fleet, pid });
    const trouble = new AgentTrouble(fleet.host(host));
    const prefix = what === "promises" ? `${AGENT_FILES.state_folder}/` : `${AGENT_FILES.memory_folder}-`;
    await trouble.fail(prefix, { calls, error }, STRIKES_MS);
    return async () => {
      if (!fleet.host(host).gone) await trouble.mend();
    };
  },
};

/** @throws Error where none runs: there is nothing that a call could fail of */
export async function agentOf({ host }: OnHost, context: Pick<FaultContext, "fleet" | "pid">): Promise<number> {
  return await pidOf({ host, process: "agent" }, context);
}
