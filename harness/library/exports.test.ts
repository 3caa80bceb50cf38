import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import * as ferryman from "../index.ts";

it("everything that can be imported from the source can be from the package", () => {
  const text = readFileSync(join(import.meta.dirname, "entry/index.mjs"), "utf8");
  const names = /export const \{([^}]*)\} = ferryman/.exec(text)?.[1]?.match(/\w+/g);
  expect(names?.toSorted()).toEqual(Object.keys(ferryman).toSorted());
});
