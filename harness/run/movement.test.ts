import { describe, expect, it } from "vitest";
import { Patience } from "../base/patience.ts";
import type { TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { Movement } from "./movement.ts";

const PATIENCE_MS = 1_000;

function pages(pages_arrived: number, pages_total = 100): TimelineEventBody {
  const counts = { transferred_bytes: 0, remaining_bytes: (pages_total - pages_arrived) * 4096, total_bytes: 0 };
  return { kind: "migration.progress", ...counts, pages_arrived, pages_total, pages_requested: 0 };
}
const guest = (step: number): TimelineEventBody => ({ kind: "guest.progress", host: "target", cpu: 0, step });
const stored = (n: number): TimelineEventBody => ({ kind: "tx.stored", generation: 1, n, bytes: 1 });

/** One event every half of the patience; how the wait stands at the end. */
function endOf(bodies: readonly TimelineEventBody[]): { over: string | undefined; movement: Movement } {
  const patience = new Patience(PATIENCE_MS, 0);
  const movement = new Movement(patience);
  let at_ms = 0;
  for (const body of bodies) {
    at_ms += PATIENCE_MS / 2;
    const event: TimelineEvent = { at_ms, lane: "run", ...body };
    movement.see(event);
  }
  return { over: patience.over(at_ms), movement };
}

const sent = (n: number, pages_sent: number): TimelineEventBody => ({
  kind: "tx.progress",
  generation: 1,
  n,
  pages_sent,
});

const many = (of: (i: number) => TimelineEventBody): TimelineEventBody[] => Array.from({ length: 50 }, (_, i) => of(i));

describe("what moves in a migration", () => {
  it("is waited for as long as pages come, however long that is", () => {
    const { over, movement } = endOf(many((i) => pages(i)));
    expect(over).toBeUndefined();
    expect(movement.pages).toEqual({ arrived: 49, total: 100 });
  });

  it("is nothing where the same is told again and again", () => {
    expect(endOf(many(() => pages(7))).over).toContain("nothing has moved for 1 s, the last was: 7 of 100 pages");
    expect(endOf(many(() => guest(7))).over).toContain("nothing has moved");
    expect(endOf(many(() => ({ kind: "run.note", text: "hello" }))).over).toContain("nothing has moved");
  });

  it("is not waited for without an end where it could go on for ever", () => {
    for (const of of [guest, stored]) {
      expect(endOf(many(of).slice(0, 6)).over).toBeUndefined();
      expect(endOf(many(of)).over).toContain("nothing has come nearer to an end");
    }
  });

  it("is a record that is larger than all before, for as long as more of it is sent, and no other", () => {
    expect(endOf(many((i) => sent(1, i + 1))).over).toBeUndefined();
    expect(endOf(many((i) => sent(i, 7))).over).toContain("nothing has come nearer to an end");
  });

  it("is a step of the protocol when it comes first, and only life when it comes again", () => {
    const recovering: TimelineEventBody = { kind: "migration.step", step: "recovering" };
    expect(endOf([recovering]).over).toBeUndefined();
    expect(endOf(many(() => recovering)).over).toContain("the step recovering, again");
  });
});
