import { describe, expect, it } from "vitest";
import type { Status } from "./index.ts";
import { notePeer } from "./lease.ts";
import { Trio } from "./testing/trio.ts";

describe("a peer's status", () => {
  const status = (trio: Trio, incarnation: number, at_ms: number, well: boolean): Status => {
    const [first] = trio.sent("target", "ping");
    if (first === undefined) throw new Error("the target has said nothing");
    return { ...first.status, incarnation, at_ms, well };
  };

  it("of the same life counts if it is not older, however much older it is", () => {
    const s = { ...new Trio().states.source };
    const trio = new Trio();
    notePeer(s, "target", status(trio, 7, 90_000, true));
    for (const at_ms of [0, 89_000, 89_999]) {
      notePeer(s, "target", status(trio, 7, at_ms, false));
      expect(s.peerTarget).toMatchObject({ at_ms: 90_000, well: true });
    }
    notePeer(s, "target", status(trio, 7, 90_000, false));
    expect(s.peerTarget?.well).toBe(false);
  });

  it("of the next life counts at once, whatever its clock says, and no older life's does any more", () => {
    const s = { ...new Trio().states.source };
    const trio = new Trio();
    notePeer(s, "target", status(trio, 7, 900, true));
    notePeer(s, "target", status(trio, 3, 10, false));
    expect(s.peerTarget).toMatchObject({ incarnation: 3, well: false });
    notePeer(s, "target", status(trio, 7, 5_000, true));
    expect(s.peerTarget).toMatchObject({ incarnation: 3, well: false });
    for (let life = 100; life < 140; life += 1) notePeer(s, "target", status(trio, life, 1, true));
    expect(s.superseded.length).toBeLessThanOrEqual(8);
  });
});

describe("a package on its way", () => {
  it("is not sent again while its bytes move, and soon when they do not", () => {
    const trio = new Trio();
    trio.shells.loses = ({ kind }) => kind === "package";
    trio.switchOver();
    expect(trio.sent("source", "package")).toHaveLength(1);
    for (let i = 0; i < 12; i += 1) {
      trio.event("source", { kind: "packageSending" });
      trio.beat(1);
    }
    expect(trio.sent("source", "package")).toHaveLength(1);
    trio.shells.loses = () => false;
    trio.beat(4);
    expect(trio.sent("source", "package")).toHaveLength(2);
    expect(trio.states.target.vm).toBe("running");
  });
});
