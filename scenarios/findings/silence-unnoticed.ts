import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** QEMU's list, January to September 2025: there is no keepalive in post-copy, and libvirt has no means either. */
export const silenceUnnoticed: Scenario = {
  id: "silence-unnoticed",
  group: "findings",
  title: "the stream goes silent in the middle of post-copy and stays so, while the daemons still hear each other",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    { fault: { fault: "cut-silent", link: "source-target", direction: "both" }, at: { on: "pages", percent: 30 } },
  ],
  configuration: { manager: "libvirt" },
  expect: { stock: "lost", txsync: "intact" },
};
