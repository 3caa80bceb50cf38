import { PassThrough, Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NothingMovesError } from "./errors.ts";
import { chunksOf, Patience, whileMoving } from "./patience.ts";

describe("patience", () => {
  it("lasts as long as what there is only so much of moves, however long that is", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1_000 }), { maxLength: 200 }), (gaps) => {
        const patience = new Patience(1_000, 0);
        let now_ms = 0;
        for (const gap of gaps) {
          now_ms += gap;
          expect(patience.over(now_ms)).toBeUndefined();
          patience.onward("a page", now_ms);
        }
        expect(patience.over(now_ms + 1_000)).toBeUndefined();
        expect(patience.over(now_ms + 1_001)).toMatch(
          /^nothing has moved for 1 s, the last was: (a page|nothing yet)$/,
        );
      }),
    );
  });

  it("does not last for ever for what could go on for ever", () => {
    const patience = new Patience(1_000, 0);
    for (let now_ms = 100; now_ms <= 3_000; now_ms += 100) {
      patience.alive("a step", now_ms);
      expect(patience.over(now_ms)).toBeUndefined();
    }
    patience.alive("a step", 3_001);
    expect(patience.over(3_001)).toContain("nothing has come nearer to an end");
    patience.onward("the last page", 3_002);
    expect(patience.over(3_002)).toBeUndefined();
  });

  it("says now and then how it stands, not at once", () => {
    const patience = new Patience(1_000, 0);
    patience.onward("page 3", 9_000);
    expect(patience.toSay(9_999)).toBeUndefined();
    expect(patience.toSay(10_000)).toEqual({ moved: "page 3", quiet_ms: 1_000 });
    expect(patience.toSay(10_001)).toBeUndefined();
    expect(patience.toSay(20_000)).toMatchObject({ quiet_ms: 11_000 });
  });
});

describe("a wait that lasts while something moves", () => {
  it("gives what is found, though that takes many times the patience", async () => {
    let looks = 0;
    const found = await whileMoving({ what: "it", patience_ms: 200, interval_ms: 1, moves: () => looks }, () =>
      ++looks > 50 ? looks : undefined,
    );
    expect(found).toBe(51);
  });

  it("names what was awaited and what moved last, with the last lines", async () => {
    const waiting = whileMoving(
      { what: "the guest to boot", patience_ms: 5, interval_ms: 1, moves: () => "12 MiB", lastLines: () => ["a line"] },
      () => undefined,
    );
    await expect(waiting).rejects.toThrow(NothingMovesError);
    await expect(waiting).rejects.toThrow(
      "gave up waiting for the guest to boot: nothing has moved for 0 s, the last was: 12 MiB\nlast lines:\n  a line",
    );
  });

  it("takes what cannot be asked whether it moves for what does not", async () => {
    const moves = (): number => {
      throw new Error("gone");
    };
    await expect(whileMoving({ what: "it", patience_ms: 5, interval_ms: 1, moves }, () => undefined)).rejects.toThrow(
      "the last was: nothing yet",
    );
  });

  it("bounds a look that never comes back", async () => {
    const look = (): Promise<number> => new Promise(() => undefined);
    await expect(whileMoving({ what: "it", patience_ms: 5, moves: () => 1 }, look)).rejects.toThrow("for it, in vain");
  });
});

describe("the bytes of a stream", () => {
  it("come in order, all of them", async () => {
    const parts = [Buffer.from("a"), Buffer.from("bc"), Buffer.from("d")];
    const came: string[] = [];
    for await (const chunk of chunksOf(Readable.from(parts), { what: "it", patience_ms: 60_000 }))
      came.push(chunk.toString());
    expect(came.join("")).toBe("abcd");
  });

  it("are given up when none come any more, and it is said how many came", async () => {
    const stream = new PassThrough();
    stream.write("abc");
    const read = (async () => {
      for await (const chunk of chunksOf(stream, { what: "the RAM file", patience_ms: 5 })) void chunk;
    })();
    await expect(read).rejects.toThrow("gave up waiting for the RAM file: 3 bytes came, and then none for 0 s");
  });

  it("pass the stream's own error on", async () => {
    const stream = new PassThrough();
    stream.destroy(new Error("the host is gone"));
    const read = (async () => {
      for await (const chunk of chunksOf(stream, { what: "it", patience_ms: 60_000 })) void chunk;
    })();
    await expect(read).rejects.toThrow("the host is gone");
  });
});
