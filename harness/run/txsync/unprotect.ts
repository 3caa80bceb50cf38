import { messageOf } from "../../base/errors.ts";
import type { HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { AgentClient, AgentStatus } from "./agent-client.ts";

/** For a vote of three agents that are there. */
const VOTE_MS = 10_000;
/** The same, of a VM whose output leaves without waiting for it. */
const LAST_VOTE_MS = 2_000;

/**
 * Tells an agent that its VM need not be protected any more, and waits until it is the VM's owner for good. One whose
 * output leaves freely takes no transaction: that nobody gives it the last vote holds up nobody who looks at the VM.
 * @returns why the agent may still stop the VM, where it may
 */
export async function unprotectedBy(
  role: HostRole,
  client: Pick<AgentClient, "ask">,
  {
    vote_ms = VOTE_MS,
    last_vote_ms = LAST_VOTE_MS,
  }: { readonly vote_ms?: number; readonly last_vote_ms?: number } = {},
): Promise<string | undefined> {
  const { protect } = await client.ask<AgentStatus>({ do: "status" });
  if (!protect) return undefined;
  await client.ask({ do: "protect", on: false });
  const asked_ms = performance.now();
  const what = `the VM on ${role} to be protected no more`;
  const mode = await waitFor({ what, timeout_ms: vote_ms }, async () => {
    const { opened } = await client.ask<AgentStatus>({ do: "status" });
    const free = opened.mode === "unprotected" && performance.now() - asked_ms > last_vote_ms;
    return opened.mode === "final" || free ? opened.mode : undefined;
  }).catch(messageOf);
  return mode === "final" || mode === "unprotected" ? undefined : `its memory is not looked at: ${mode}`;
}
