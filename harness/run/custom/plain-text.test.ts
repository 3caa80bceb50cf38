import fc from "fast-check";
import { expect, it } from "vitest";
import { plainText } from "./plain-text.ts";

it("leaves of a line what a person reads", () => {
  expect(plainText("\x1b[?2004l\rrunning\r")).toBe("running");
  expect(plainText("[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m.\r")).toBe(
    "[  OK  ] Reached target multi-user.target.",
  );
  expect(plainText("\x1b]0;root@debian: ~\x07root@debian:~# ")).toBe("root@debian:~#");
  expect(plainText("plain [1m text")).toBe("plain [1m text");
});

it("takes anything", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void plainText(text)));
});
