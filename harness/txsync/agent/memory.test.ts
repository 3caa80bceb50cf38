import { existsSync, mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALL_RULES, frameNumber, initialState } from "../core/index.ts";
import { MemoryStore } from "./memory.ts";

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "memory-test-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

describe("what an agent remembers", () => {
  const state = initialState({
    role: "source",
    lease_ms: 100,
    heartbeat_ms: 20,
    epoch_ms: 10,
    durability: "process",
    logSync: "memory",
    protect: "until-handoff",
    unprotected: "go",
    rules: ALL_RULES,
  });

  it("is nothing at first, and then what was saved last, for its next life", () => {
    expect(new MemoryStore(root).load()).toBeNull();
    const store = new MemoryStore(root);
    store.save(state, 1, undefined);
    expect(new MemoryStore(root).load()).toMatchObject({ qemu: 1, machine: null, host: { vm: state.vm, produced: 0 } });
    const later = { ...state, vm: "gone" as const, gate: { ...state.gate, produced: frameNumber(7) } };
    store.save(later, 2, undefined);
    // An agent that died while it wrote leaves what was there before.
    const dies = new MemoryStore(root, (fd, bytes, offset, length, position) => {
      if (length > 100 && position === 0) writeSync(fd, bytes, offset, 100, position);
      throw Object.assign(new Error("EIO: it dies"), { code: "EIO" });
    });
    expect(() => dies.save(state, 3, undefined)).toThrow(/EIO/);
    expect(new MemoryStore(root).load()).toMatchObject({ qemu: 2, host: { vm: "gone", produced: 7 } });
  });

  it("is not written again while nothing of it changes", () => {
    let writes = 0;
    const store = new MemoryStore(root, (fd, bytes, offset, length, position) => {
      writes += 1;
      return writeSync(fd, bytes, offset, length, position);
    });
    store.save(state, 1, undefined);
    const before = writes;
    store.save({ ...state, now_ms: state.now_ms + 5 }, 1, undefined);
    expect(writes).toBe(before);
    store.save(state, 2, undefined);
    expect(writes).toBe(before + 1);
  });
});
