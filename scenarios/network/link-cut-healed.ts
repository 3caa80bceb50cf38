import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

export const linkCutHealed: Scenario = {
  id: "link-cut-healed",
  group: "network",
  title: "the link is reset in the middle of post-copy and is back after a second",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  expect: { stock: "intact", txsync: "intact" },
  expect_on: [
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
  ],
};
