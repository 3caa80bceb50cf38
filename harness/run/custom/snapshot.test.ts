import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import type { RunEnvironment, RunRequest } from "../request.ts";
import { PURE_POSTCOPY } from "../scenario.ts";
import { ensureSnapshot } from "./snapshot.ts";

const scenario = {
  id: "x",
  group: "x",
  title: "x",
  guests: ["custom"],
  migration: PURE_POSTCOPY,
  faults: [],
  expect: {},
};

function request(snapshot: string | undefined): RunRequest {
  const asked = { scenario, recovery: "txsync", guest: "custom", accel: "tcg", accel_why: "", seed: 1, keep: false };
  const configuration = { kernel: process.execPath, ...(snapshot === undefined ? {} : { snapshot }) };
  return { ...asked, memory_bytes: 128 * 1024 ** 2, configuration } as RunRequest;
}
// Whoever made anything would need more of it.
const environment = { qemu_version: "10.0.13" } as RunEnvironment;

it("leaves a folder alone that holds no snapshot of the VM, and says so", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-snapshot-test-"));
  const said: string[] = [];
  try {
    writeFileSync(join(folder, "mine.txt"), "precious");
    const made = ensureSnapshot(environment, request(folder), (line) => said.push(line));
    await expect(made).rejects.toThrow(UserError);
    await expect(made).rejects.toThrow(/is no snapshot of this VM.*name another folder, or remove it/);
    writeFileSync(join(folder, "snapshot.json"), '{"of":"another"}');
    await expect(ensureSnapshot(environment, request(folder), () => undefined)).rejects.toThrow(/is no snapshot/);
    expect(readdirSync(folder)).toEqual(["mine.txt", "snapshot.json"]);
    expect(said).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("has nothing to do where no snapshot is asked for", async () => {
  await ensureSnapshot(environment, request(undefined), () => undefined);
});
