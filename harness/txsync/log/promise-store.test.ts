import { describe, expect, it } from "vitest";
import { generation, SWITCHOVER } from "../core/index.ts";
import { writeAll } from "./files.ts";
import { loadPromise, savePromise } from "./promise-store.ts";
import { LossyFiles } from "./testing/lossy-files.ts";

describe("the promise store", () => {
  it("gives the old promise or the new one when power goes at any operation, and the new one once saved", async () => {
    const first = { descriptor: SWITCHOVER, opened: false };
    const second = { descriptor: { ...SWITCHOVER, generation: generation(2) }, opened: true };
    for (let failAt = 0; failAt < 8; failAt += 1) {
      for (let kept = 0; kept < 6; kept += 1) {
        const files = new LossyFiles();
        await savePromise(files, first);
        files.loseAt(files.operations + failAt);
        const saved = await savePromise(files, second).then(
          () => true,
          () => false,
        );
        files.recover((n) => Math.min(n, kept * 7));
        const found = await loadPromise(files);
        if (saved) expect(found).toEqual(second);
        else expect([first, second]).toContainEqual(found);
      }
    }
  });

  it("refuses a damaged file, and says so", async () => {
    const files = new LossyFiles();
    expect(await loadPromise(files)).toBeNull();
    const file = await files.open("promise", "create");
    await writeAll(file, 0, Buffer.from("nonsense!"));
    await expect(loadPromise(files)).rejects.toThrow(/damaged/);
  });

  it("refuses a promise of which any byte is another one", async () => {
    const files = new LossyFiles();
    await savePromise(files, { descriptor: SWITCHOVER, opened: false });
    const whole = Buffer.from(files.bytesOf("promise") ?? []);
    expect(whole.length).toBeGreaterThan(50);
    for (let at = 0; at < whole.length; at += 1) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      files.put("promise", damaged);
      await expect(loadPromise(files), `byte ${at}`).rejects.toThrow(/damaged/);
    }
  });
});
