import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Lane, TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { isStep, STEP_NAMES, type StepName, stepOf } from "./steps.ts";

const at = (lane: Lane, body: TimelineEventBody): TimelineEvent => ({ at_ms: 1, lane, ...body });
const vote = (message: "ask" | "promise" | "refuse", pre: boolean, mode = "claim"): TimelineEventBody => ({
  kind: "vote.message",
  message,
  pre,
  generation: 2,
  mode,
  to: "escrow",
});
const tx = { generation: 1, n: 4 };

/** The moments at which a fault has to be able to strike, in order, and what of the timeline tells of each. */
const MOMENTS: readonly (readonly [StepName, Lane, TimelineEventBody])[] = [
  [
    "transaction-taken",
    "target",
    {
      kind: "tx.taken",
      ...tx,
      pages: 1,
      bytes: 1,
      stop_ms: 1,
      device_ms: 1,
      find_ms: 1,
      copy_ms: 1,
      pause_ms: 1,
    },
  ],
  ["record-half-sent", "target", { kind: "tx.sending", ...tx, pages_sent: 9 }],
  ["record-stored", "escrow", { kind: "tx.stored", ...tx, bytes: 1 }],
  ["transaction-committed", "target", { kind: "tx.committed", ...tx, latency_ms: 1 }],
  ["output-released", "target", { kind: "gate.released", ...tx, bytes: 1, waited_ms: 1 }],
  ["output-full", "target", { kind: "gate.full", generation: 1, bytes: 1 }],
  ["output-room", "target", { kind: "gate.room", generation: 1, bytes: 1, most_bytes: 2, stood_ms: 3 }],
  ["protection-on", "target", { kind: "protection", state: "on", why: "" }],
  ["base-covered", "target", { kind: "base.covered" }],
  ["protection-off", "target", { kind: "protection", state: "off", why: "" }],
  ["lease-lost", "source", { kind: "lease.lost", peer: "target", silent_ms: 500 }],
  ["lease-regained", "source", { kind: "lease.regained", peer: "target" }],
  ["vote-pre-asked", "source", vote("ask", true)],
  ["vote-pre-promised", "escrow", vote("promise", true)],
  ["vote-pre-refused", "escrow", vote("refuse", true)],
  ["vote-asked", "source", vote("ask", false)],
  ["vote-promise-made", "escrow", { kind: "vote.promised", generation: 2, to: "source" }],
  ["vote-promised", "escrow", vote("promise", false)],
  ["vote-refused", "escrow", vote("refuse", false)],
  ["generation-opened", "source", { kind: "generation.opened", generation: 2, owner: "source" }],
  ["generation-closed", "target", { kind: "generation.closed", generation: 1 }],
  ["restore-started", "source", { kind: "restore.started", ...tx }],
  ["restore-made", "source", { kind: "restore.made", ...tx }],
  ["restore-verified", "source", { kind: "restore.verified", ...tx, pages: 1, digest: "" }],
  ["restore-finished", "source", { kind: "restore.finished", ...tx, pages: 1, restore_ms: 1 }],
  ["restore-running", "source", { kind: "restore.running", generation: 2 }],
  ["pages-rerouted", "target", { kind: "pages.route", route: "escrow" }],
  ["takeover", "target", { kind: "takeover", server: "escrow", pages_left: 9 }],
  ["takeover-served", "target", { kind: "takeover.served", server: "escrow" }],
  ["handoff", "target", { kind: "handoff", ...tx }],
];

describe("steps", () => {
  it.each(MOMENTS)("%s is told by one event, and of no other step", (name, lane, body) => {
    const told = STEP_NAMES.filter((step) => isStep(step, at(lane, body)));
    expect(told).toEqual([name]);
  });

  it("a vote for a VM that nobody may take away again is a step of its own beside that of any vote", () => {
    const told = (body: TimelineEventBody): StepName[] => STEP_NAMES.filter((step) => isStep(step, at("target", body)));
    expect(told(vote("ask", false, "final"))).toEqual(["vote-asked", "ownership-asked"]);
    expect(told(vote("promise", false, "final"))).toEqual(["vote-promised", "ownership-promised"]);
    expect(told(vote("ask", true, "final"))).toEqual(["vote-pre-asked"]);
  });

  it("every step of the protocol is one, by its own name, told by the migration step", () => {
    const protocol = STEP_NAMES.filter((name) => stepOf(name).part === "migration");
    for (const step of protocol) {
      const event = { at_ms: 1, lane: "migration", kind: "migration.step", step } as TimelineEvent;
      expect(STEP_NAMES.filter((name) => isStep(name, event))).toEqual([step]);
    }
    expect(protocol).toHaveLength(9);
    expect([...protocol, ...MOMENTS.map(([name]) => name), "ownership-asked", "ownership-promised"].sort()).toEqual(
      [...STEP_NAMES].sort(),
    );
  });

  it("may have to be told by the agent of a certain host", () => {
    const event = at("escrow", vote("promise", false));
    expect(isStep("vote-promised", event, "escrow")).toBe(true);
    expect(isStep("vote-promised", event, "source")).toBe(false);
  });

  it("the README names them all", () => {
    const readme = readFileSync(join(import.meta.dirname, "..", "..", "README.md"), "utf8");
    expect(STEP_NAMES.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
  });
});
