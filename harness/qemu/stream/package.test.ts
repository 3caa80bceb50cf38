import fc from "fast-check";
import { expect, test } from "vitest";
import { COMMAND, StreamError } from "./format.ts";
import { deviceStateOfPackage } from "./package.ts";
import { be32, command, counted, ping } from "./writer.ts";

const LISTEN = command(COMMAND.postcopyListen);
const RUN = command(COMMAND.postcopyRun);
const SECTION = Buffer.concat([
  Buffer.of(4),
  be32(9),
  counted("device"),
  be32(0),
  be32(1),
  // The end of a ping, as far as a body can hold it.
  Buffer.from("08000200", "hex"),
  Buffer.of(0x7e),
  be32(9),
]);
const STATE = `5145564d00000003${SECTION.toString("hex")}00`;

test.each([
  ["as 7.2 and 10.0 make it", [LISTEN, SECTION, ping(3), RUN]],
  ["as 11.1 makes it", [LISTEN, SECTION, ping(3), ping(0x42), RUN]],
  ["with a ping before the listen, and none behind", [ping(2), LISTEN, SECTION, RUN]],
])("the device state of a package %s", (_, pieces) => {
  expect(deviceStateOfPackage(Buffer.concat(pieces)).toString("hex")).toBe(STATE);
});

test.each([
  ["nothing", []],
  ["no listen", [ping(0x0800_0400), SECTION, RUN]],
  ["no run", [LISTEN, SECTION]],
  ["a listen alone", [LISTEN]],
  ["a command that is cut off", [LISTEN, RUN.subarray(0, 4)]],
  ["a command whose data reach beyond the end", [LISTEN, command(COMMAND.ramDiscard, RUN).subarray(0, -1)]],
])("a package with %s is refused", (_, pieces) => {
  expect(() => deviceStateOfPackage(Buffer.concat(pieces))).toThrow(StreamError);
});

test("garbage is refused, or has a header and an end mark", () => {
  const part = fc.oneof(
    fc.constantFrom(LISTEN, RUN, ping(3), SECTION),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (pieces) => {
      try {
        const state = deviceStateOfPackage(Buffer.concat(pieces));
        expect(state.subarray(0, 8).toString("hex")).toBe("5145564d00000003");
        expect(state.at(-1)).toBe(0);
      } catch (error) {
        expect(error).toBeInstanceOf(StreamError);
      }
    }),
    { numRuns: 1000 },
  );
});
