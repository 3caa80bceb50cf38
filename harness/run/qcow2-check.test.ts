import { describe, expect, it } from "vitest";
import { checkQcow2 } from "./qcow2-check.ts";

const checked = (said: string) => checkQcow2({ run: async () => `${said}\n` }, "/d");

describe("a qcow2", () => {
  it.each([
    ["No errors were found on the image.\ncode 0", "clean"],
    ["qemu-img: Could not open '/d': Image is not in qcow2 format\ncode 1", "unreadable"],
    ["ERROR cluster 4 refcount=0 reference=1\n1 errors were found on the image.\ncode 2", "damaged"],
    ["Leaked cluster 7 refcount=1 reference=0\ncode 3", "leaks"],
  ])("is what the code of its checker says: %j", async (said, state) => {
    expect(await checked(said)).toEqual({ state, said });
  });

  it("is not judged where nothing checked it", async () => {
    await expect(checked("sh: qemu-img: not found\ncode 127")).rejects.toThrow("could not check /d: sh: qemu-img");
  });
});
