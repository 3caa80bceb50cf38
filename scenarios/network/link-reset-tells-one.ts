import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** As a middlebox does that forgets a connection and says so to whoever sends. */
export const linkResetTellsOne: Scenario = {
  id: "link-reset-tells-one",
  group: "network",
  title: "the link is reset towards the source, the target hears nothing more, and two seconds later it is back",
  guests: ["integrity", "linux"],
  tags: ["large"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target", direction: "backward" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 2_000 },
    },
  ],
  expect: { txsync: "intact" },
};
