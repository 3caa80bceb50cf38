import { describe, expect, it } from "vitest";
import { generation, type Mode, SWITCHOVER } from "../../txsync/core/index.ts";
import type { AgentClient } from "./agent-client.ts";
import { idle } from "./testing/statuses.ts";
import { unprotectedBy } from "./unprotect.ts";

/** An agent whose generation has these modes, look after look, once it was told; the last for ever. */
function agentOf(protect: boolean, modes: readonly Mode[]) {
  const asked: string[] = [];
  let looks = -1;
  const ask = async (what: { readonly do: string }): Promise<unknown> => {
    asked.push(what.do);
    if (what.do !== "status") return null;
    const mode = modes[Math.min(Math.max(looks, 0), modes.length - 1)] ?? "protected";
    looks += 1;
    return { ...idle, protect, opened: { ...SWITCHOVER, generation: generation(2), mode } };
  };
  return { client: { ask } as unknown as AgentClient, asked };
}

const QUICK = { vote_ms: 200, last_vote_ms: 20 } as const;

describe("a VM that need not be protected any more", () => {
  it("is waited for until it is its owner's for good", async () => {
    const { client, asked } = agentOf(true, ["protected", "protected", "final"]);
    expect(await unprotectedBy("target", client, QUICK)).toBeUndefined();
    expect(asked).toContain("protect");
  });

  it("is asked of nobody where it is not protected", async () => {
    const { client, asked } = agentOf(false, ["final"]);
    expect(await unprotectedBy("target", client, QUICK)).toBeUndefined();
    expect(asked).toEqual(["status"]);
  });

  it("is looked at though nobody gives it the last vote, where its output leaves freely: nobody stops it", async () => {
    expect(await unprotectedBy("target", agentOf(true, ["unprotected"]).client, QUICK)).toBeUndefined();
  });

  it("is not looked at where its agent may still stop it, and that is said", async () => {
    const why = await unprotectedBy("target", agentOf(true, ["protected"]).client, QUICK);
    expect(why).toMatch(/^its memory is not looked at: .* the VM on target to be protected no more/);
  });
});
