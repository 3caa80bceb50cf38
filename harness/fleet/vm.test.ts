import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import type { StartedHost } from "./host.ts";
import { type QemuProcess, StartedVm } from "./vm.ts";

/** A monitor that answers every command; to `query-status` it sends what it is told, in one piece. */
function monitor(status: (id: number) => string): Duplex {
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _, done) => {
      for (const line of chunk.toString().trim().split("\n")) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number };
        stream.push(execute === "query-status" ? status(id) : `${JSON.stringify({ return: {}, id })}\n`);
      }
      done();
    },
  });
  const qemu = { major: 10, minor: 0, micro: 0 };
  stream.push(`${JSON.stringify({ QMP: { version: { qemu, package: "" }, capabilities: ["oob"] } })}\n`);
  return stream;
}

async function adopted(status: (id: number) => string): Promise<StartedVm> {
  const host = { role: "source", connect: async () => monitor(status) } as unknown as StartedHost;
  const qemu: QemuProcess = {
    pid: 1,
    gone: false,
    exited: new Promise(() => undefined),
    lastLines: () => [],
    [Symbol.dispose]: () => undefined,
  };
  return await StartedVm.adopt(host, qemu, {
    emit: () => undefined,
    log: () => undefined,
    com2: () => Promise.reject(new Error("there is no second serial line")),
  });
}

const line = (what: object): string => `${JSON.stringify(what)}\n`;
const answer = (id: number, running: boolean): string =>
  line({ return: { running, status: running ? "running" : "paused" }, id });
const event = (name: string): string => line({ event: name, data: {}, timestamp: { seconds: 1, microseconds: 0 } });

describe("whether the vCPUs of a QEMU that was found run", () => {
  it.each<[string, (id: number) => string, boolean]>([
    ["is what it says", (id) => answer(id, true), true],
    ["is what it says, also where they stand", (id) => answer(id, false), false],
    ["is what it tells right behind its answer, in the same piece", (id) => answer(id, false) + event("RESUME"), true],
    ["is the last that it tells", (id) => answer(id, true) + event("STOP") + event("RESUME") + event("STOP"), false],
  ])("%s", async (_, status, running) => {
    await using vm = await adopted(status);
    expect(vm.running).toBe(running);
  });
});
