import { expect, it } from "vitest";
import { differencesOf } from "./replay.ts";

it("names what is another version than it was, what is new and what is gone", () => {
  const was = { qemu_version: "10.0.13", versions: { node: "v24.1.0", kernel: "6.1", engine: "27" } };
  const is = { qemu_version: "10.0.13", versions: { node: "v24.2.0", kernel: "6.1", toxiproxy_image: "a" } };
  expect(differencesOf(was, was)).toEqual([]);
  expect(differencesOf(was, is)).toEqual([
    "node is v24.2.0, and was v24.1.0",
    "engine is not known, and was 27",
    "toxiproxy_image is a, and was not known",
  ]);
});
