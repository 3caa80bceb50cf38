import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteQueue } from "./byte-queue.ts";

test("bytes come out as they went in, however they were cut", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat({ max: 30 })), (bytes, cuts) => {
      const queue = new ByteQueue();
      const all = Buffer.from(bytes);
      let at = 0;
      const out: Buffer[] = [];
      for (const cut of cuts) {
        queue.push(all.subarray(at, at + cut));
        at = Math.min(all.length, at + cut);
        const got = queue.take(Math.floor(cut / 2));
        if (got) out.push(got);
      }
      queue.push(all.subarray(at));
      const got_bytes = out.reduce((sum, part) => sum + part.length, 0);
      expect(queue.take(all.length - got_bytes + 1)).toBeUndefined();
      const rest = queue.take(all.length - got_bytes);
      expect(Buffer.concat([...out, rest ?? Buffer.alloc(0)]).equals(all)).toBe(true);
    }),
  );
});

test("a line comes out when its end has come; a line without end does not grow for ever", () => {
  const queue = new ByteQueue();
  queue.push(Buffer.from("ok a"));
  expect(queue.takeLine(10)).toBeUndefined();
  queue.push(Buffer.from("=1\n\nrest"));
  expect(queue.takeLine(10)).toBe("ok a=1");
  expect(queue.takeLine(10)).toBe("");
  expect(queue.takeLine(10)).toBeUndefined();
  queue.push(Buffer.alloc(10, 0x20));
  expect(queue.takeLine(10)).toBe("too-long");
});
