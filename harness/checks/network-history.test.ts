import { describe, expect, it } from "vitest";
import { type NetworkFindings, type NetworkOperation, readHistory } from "./network-history.ts";

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
});
