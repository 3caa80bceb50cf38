import { describe, expect, it } from "vitest";
import { WaitTimeoutError } from "../base/errors.ts";
import type { JsonValue, TimelineEventBody } from "../base/timeline.ts";
import { QmpCommandError, QmpConnectionError } from "../qemu/qmp.ts";
import type { FaultContext } from "./fault.ts";
import { ANSWER_MS, type Qmp, qmp } from "./qmp.ts";

type Asked = readonly [string, string, unknown, unknown];

/** Asks monitors that answer as they are told; returns what was asked, and what was told on the timeline. */
async function ask(spec: Omit<Qmp, "fault">, answer: () => Promise<JsonValue>) {
  const asked: Asked[] = [];
  const told: TimelineEventBody[] = [];
  const context = {
    id: "fault-3",
    emit: (_: string, event: TimelineEventBody) => told.push(event),
    monitor: (host: string, which: string) =>
      host === "source"
        ? undefined
        : {
            executeRaw: (command: string, args: unknown, options: unknown) => {
              asked.push([which, command, args, options]);
              return answer();
            },
          },
  };
  await qmp.inject({ fault: "qmp", ...spec }, context as unknown as FaultContext);
  return { asked, told };
}

const STOP = { host: "target", command: "stop" } as const;
const told = { kind: "qmp.answer", id: "fault-3", command: "stop", answer_ms: expect.any(Number) };

describe("qmp", () => {
  it("tells that it was answered", async () => {
    const { asked, told: events } = await ask(STOP, async () => ({}));
    expect(asked).toEqual([["control", "stop", undefined, { timeout_ms: ANSWER_MS, oob: false }]]);
    expect(events).toEqual([{ ...told, answered: true }]);
  });

  it("tells of a refusal as of an answer, with QEMU's words", async () => {
    const refused = new QmpCommandError("target/control", "stop", "GenericError", "not now");
    const { told: events } = await ask(STOP, () => Promise.reject(refused));
    expect(events).toEqual([{ ...told, answered: true, error: refused.message }]);
  });

  it("tells that no answer came within the bound, or that the monitor went away", async () => {
    const late = await ask({ ...STOP, within_ms: 70 }, () => Promise.reject(new WaitTimeoutError("it", 70, [])));
    expect(late.asked[0]?.[3]).toMatchObject({ timeout_ms: 70 });
    expect(late.told).toEqual([{ ...told, answered: false }]);
    const gone = await ask(STOP, () => Promise.reject(new QmpConnectionError("the connection ended")));
    expect(gone.told).toEqual([{ ...told, answered: false, error: "the connection ended" }]);
  });

  it("asks out-of-band on the monitor for that, with arguments", async () => {
    const { asked } = await ask({ ...STOP, oob: true, arguments: { uri: "tcp:x:1" } }, async () => ({}));
    expect(asked).toEqual([["oob", "stop", { uri: "tcp:x:1" }, { timeout_ms: ANSWER_MS, oob: true }]]);
  });

  it("cannot be asked of a host without a QEMU", async () => {
    await expect(ask({ ...STOP, host: "source" }, async () => ({}))).rejects.toThrow(/no monitor of a QEMU on source/);
  });
});
