import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Whoever takes one read for one frame, one record or one page is found here. */
export const linksInPieces: Scenario = {
  id: "links-in-pieces",
  group: "network",
  title:
    "what goes between target and escrow comes in small pieces all the time, and then the target's host loses power",
  guests: ["integrity", "linux"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "slice", link: "target-escrow", bytes_mean: 700, bytes_variation: 600, delay_us: 20 },
      at: { on: "step", step: "setup" },
    },
    { fault: { fault: "kill-host", host: "target" }, at: { on: "pages", percent: 50 } },
  ],
  expect: { txsync: "intact" },
  // Not in every `npm test`: the readers' own tests have pieces of every size.
  tags: ["large"],
};
