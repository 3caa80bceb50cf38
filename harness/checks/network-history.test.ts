import { describe, expect, it } from "vitest";
import {
  type NetworkFindings,
  type NetworkOperation,
  networkHistory,
  readHistory,
  servedAfterFault_ms,
} from "./network-history.ts";
import { at, got, makeCase, vcpus } from "./testing/make-case.ts";

const found = (operations: readonly NetworkOperation[], more: Partial<NetworkFindings> = {}): NetworkFindings => ({
  operations,
  broken: [],
  strays: [],
  from_vm: 0,
  to_vm: 0,
  ...more,
});
/** Answered 10 ms after it was asked. */
const done = (seq: number, count: number, connection = 1): NetworkOperation => [
  seq,
  seq * 100,
  seq * 100 + 10,
  count,
  connection,
];
const unknown = (seq: number, connection = 1): NetworkOperation => [seq, seq * 100, -1, -1, connection];

describe("the history of a client by the network card", () => {
  it("is sound where each answer is the one before and one more", () => {
    const { wrong, answered, connections, longest_ms } = readHistory(
      found([done(1, 1), done(2, 2), [3, 300, 1200, 3, 1]]),
    );
    expect({ wrong, answered, connections, longest_ms }).toEqual({
      wrong: [],
      answered: 3,
      connections: 1,
      longest_ms: 900,
    });
  });

  it("leaves open whether an operation without an answer was done", () => {
    for (const count of [2, 3])
      expect(readHistory(found([done(1, 1), unknown(2), done(3, count, 2)]))).toMatchObject({
        wrong: [],
        unanswered: 1,
        connections: 2,
      });
  });

  it("names a counter that went back, one that went too far, a broken connection, an answer to nobody", () => {
    expect(readHistory(found([done(1, 1), done(2, 2), done(3, 2)])).wrong).toEqual([
      "operation 3 made the counter 2, which had been 2 for a client: it went back",
    ]);
    expect(readHistory(found([done(1, 1), done(2, 3)])).wrong).toEqual([
      "operation 2 made the counter 3, at most 2 were asked for: one was done twice",
    ]);
    expect(readHistory(found([done(1, 1), unknown(2), done(3, 4)])).wrong).toHaveLength(1);
    const { wrong } = readHistory(found([done(1, 1)], { broken: ["read ECONNRESET"], strays: ["7 8"] }));
    expect(wrong).toEqual([
      "the client's connection broke: read ECONNRESET",
      "an answer came that nobody had asked for: 7 8",
    ]);
  });

  it("proves nothing of a VM that somebody has and that has not answered what was asked last", () => {
    const operations = [done(1, 1), done(2, 2), unknown(3)];
    const judge = (owner: "target" | "none"): unknown => {
      const guest = { kind: "linux", can: ["network"] } as const;
      return networkHistory.judge(
        makeCase({ evidence: { owner, guest }, findings: { network: got(found(operations)) } }),
      );
    };
    expect(judge("target")).toMatchObject({
      verdict: "unknown",
      summary: "operation 3, the last one, was never answered, though target has the VM",
    });
    expect(judge("none")).toMatchObject({ verdict: true });
  });

  it("proves nothing of a storm of which nothing came back", () => {
    const guest = { kind: "linux", can: ["network"] } as const;
    const judge = (came: number): unknown =>
      networkHistory.judge(
        makeCase({
          evidence: { owner: "target", guest },
          findings: { network: got(found([done(1, 1)], { storm: { sent: 500, came } })) },
        }),
      );
    expect(judge(0)).toMatchObject({ verdict: "unknown", summary: "of 500 datagrams none came back" });
    expect(judge(1)).toMatchObject({ verdict: true });
  });

  it("tells when the VM answered again after the first fault, by QEMU's clock, whenever that was asked for", () => {
    const epoch_ms = 1_700_000_000_000;
    const fault = at(3_000, "fault", { kind: "fault.injected", fault: "f", id: "fault-0", what: "" });
    const events = [vcpus(1_000, "source", 1, "STOP", 4), vcpus(1_005, "target", 2, "RESUME"), fault];
    const op = (seq: number, asked_ms: number, answered_ms: number): NetworkOperation => [
      seq,
      epoch_ms + asked_ms,
      answered_ms < 0 ? -1 : epoch_ms + answered_ms,
      seq,
      1,
    ];
    const operations = [op(1, 2_000, 2_010), op(2, 2_100, 3_800), op(3, 3_810, -1), op(4, 3_900, 4_000)];
    expect(servedAfterFault_ms({ operations }, events)).toBe(800);
    expect(servedAfterFault_ms({ operations: operations.slice(0, 1) }, events)).toBeUndefined();
    expect(servedAfterFault_ms({ operations }, events.slice(0, 2))).toBeUndefined();
    expect(servedAfterFault_ms({ operations }, [fault])).toBeUndefined();
    // What was under way when the VM's host died is no answer of the VM that was made again.
    const restored = at(3_500, "source", { kind: "restore.running", generation: 3 });
    const under_way = [op(1, 2_000, 3_010), op(2, 3_020, 3_900)];
    expect(servedAfterFault_ms({ operations: under_way }, [...events, restored])).toBe(900);
  });
});
