import { beforeEach, expect, test } from "vitest";
import type { QmpEvent } from "../../qemu/qmp.ts";
import { type Monitored, whileStill } from "./while-still.ts";

/** A QEMU with its two monitors: what others tell it is heard on the second one, before the answer to what is asked there. */
class PlayedQemu {
  running = true;
  readonly said: string[] = [];
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #waiting: string[] = [];

  readonly monitors = {
    control: {
      execute: async (command: string) => {
        if (command === "query-status") return { running: this.running };
        this.said.push(command);
        this.tell(command);
        return {};
      },
    },
    watch: {
      execute: async () => {
        for (const kind of this.#waiting.splice(0))
          for (const listener of [...this.#listeners]) listener({ kind } as QmpEvent);
        return { running: this.running };
      },
      on: (listener: (event: QmpEvent) => void) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
    },
  } as unknown as Monitored;

  /** `stop` or `cont`, by whomever. */
  tell(command: string): void {
    this.running = command === "cont";
    this.#waiting.push(this.running ? "resume" : "stop");
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}

let qemu: PlayedQemu;
beforeEach(() => {
  qemu = new PlayedQemu();
});

test("what runs is stopped, looked at, and let run again", async () => {
  const seen = await whileStill(qemu.monitors, async () => qemu.running);
  expect(seen).toBe(false);
  expect(qemu.said).toEqual(["stop", "cont"]);
  expect(qemu.listeners).toBe(0);
});

test("what stands still is left so", async () => {
  qemu.tell("stop");
  expect(await whileStill(qemu.monitors, async () => 7)).toBe(7);
  expect(qemu.said).toEqual([]);
});

test("what somebody lets run meanwhile is looked at again; what was told before is not taken for that", async () => {
  qemu.tell("stop");
  qemu.tell("cont");
  let looks = 0;
  const seen = await whileStill(qemu.monitors, async () => {
    looks += 1;
    if (looks === 1) qemu.tell("cont");
    return looks;
  });
  expect(seen).toBe(2);
  expect(qemu.running).toBe(true);
});

test("let run each time, it is not judged by what was seen", async () => {
  const looking = whileStill(qemu.monitors, async () => qemu.tell("cont"));
  await expect(looking).rejects.toThrow("somebody let the VM run each of 3 times");
  expect([qemu.running, qemu.listeners]).toEqual([true, 0]);
});

test("a look that fails lets it run again all the same", async () => {
  await expect(whileStill(qemu.monitors, () => Promise.reject(new Error("unreadable")))).rejects.toThrow("unreadable");
  expect([qemu.running, qemu.listeners]).toEqual([true, 0]);
});
