import type { Scenario } from "../harness/run/scenario.ts";

/** What becomes of a post-copy that was paused by a cut which heals, where it is not the eager manager that resumes it. */
export const RESUMED_BY_MANAGERS = [
  {
    under: "stock",
    managers: ["none", "libvirt"],
    verdict: "lost",
    why: "a paused post-copy is left as it is: nobody resumes it",
  },
  {
    under: "stock",
    managers: ["libvirt:resume"],
    from: "10.0",
    verdict: "lost",
    why: "libvirt 11.3.0 of Debian 13 loses the target's daemon at --postcopy-resume, every time",
  },
] as const satisfies NonNullable<Scenario["expect_on"]>;
