import { type AgentClock, AgentTrouble } from "../fleet/trouble.ts";
import type { Fault, OnHost } from "./fault.ts";
import { agentOf } from "./io-error.ts";

/** `back`: the wall clock goes back; a monotonic one never does. */
export type ClockStep = OnHost & {
  readonly fault: "clock-step";
  readonly clock: AgentClock;
  readonly by_ms: number;
  readonly back?: true;
};

const STRIKES_MS = 10_000;

/**
 * From one moment to the next an agent's clock is another: the monotonic one, by which leases go, or the wall clock. No time
 * passes. It has struck once the agent has read it. QEMU, the other agents and the harness have the kernel's clocks still.
 * Healing puts the wall clock right; a monotonic clock keeps what it has gained.
 */
export const clockStep: Fault<ClockStep> = {
  name: "clock-step",
  where: ({ host, clock, by_ms, back }) =>
    `${clock} clock of the agent on ${host}, ${back ? "back" : "on"} ${by_ms} ms`,
  async inject({ host, clock, by_ms, back }, { fleet, pid }) {
    await agentOf({ host }, { fleet, pid });
    const trouble = new AgentTrouble(fleet.host(host));
    const step_ms = back === true ? -by_ms : by_ms;
    await trouble.step(clock, step_ms, STRIKES_MS);
    if (clock === "monotonic") return undefined;
    return async () => {
      if (!fleet.host(host).gone) await trouble.step(clock, -step_ms, STRIKES_MS);
    };
  },
};
