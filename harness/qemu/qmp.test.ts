import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WaitTimeoutError } from "../base/errors.ts";
import { QmpClient, QmpCommandError, QmpConnectionError, type QmpEvent } from "./qmp.ts";

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}';

interface Request {
  readonly verb: "execute" | "exec-oob";
  readonly command: string;
  readonly id: number;
}

/** The other end: hands every request to the script, which answers with bytes as it likes. */
class ScriptedQemu extends Duplex {
  readonly requests: Request[] = [];
  readonly #script: (request: Request, qemu: ScriptedQemu) => void;

  constructor(script: (request: Request, qemu: ScriptedQemu) => void, greeting: string | null = `${GREETING}\r\n`) {
    super();
    this.#script = script;
    if (greeting !== null) this.push(greeting);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    for (const line of chunk.toString().split("\n")) {
      if (line === "") continue;
      const message = JSON.parse(line);
      const verb = "execute" in message ? "execute" : "exec-oob";
      const request: Request = { verb, command: message[verb], id: message.id };
      this.requests.push(request);
      if (request.command === "qmp_capabilities") this.push(`{"return": {}, "id": ${request.id}}\r\n`);
      else this.#script(request, this);
    }
    done();
  }
}

const silent = () => undefined;
const options = { name: "the source's QEMU", greeting_timeout_ms: 50, command_timeout_ms: 50 };

describe("a QMP connection", () => {
  test("tells the version, enables out-of-band commands and marks them", async () => {
    const qemu = new ScriptedQemu((request, self) => self.push(`{"return": {}, "id": ${request.id}}\n`));
    await using client = await QmpClient.connect(qemu, options);
    expect(client.version).toEqual({ major: 7, minor: 2, micro: 22, package: "Debian" });
    await client.execute("migrate-pause", {}, { oob: true });
    expect(qemu.requests.map((request) => request.verb)).toEqual(["execute", "exec-oob"]);
  });

  test("refuses an out-of-band command where QEMU offers none", async () => {
    const qemu = new ScriptedQemu(silent, `${GREETING.replace('"oob"', "")}\n`);
    await using client = await QmpClient.connect(qemu, options);
    await expect(client.execute("migrate-pause", {}, { oob: true })).rejects.toThrow(/not negotiated/);
  });

  test("gives every answer to its own command, in whatever order and chunks they come", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 8 }).chain((count) =>
          fc.record({
            order: fc.shuffledSubarray(
              Array.from({ length: count }, (_, index) => index),
              { minLength: count },
            ),
            cuts: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
          }),
        ),
        async ({ order, cuts }) => {
          const asked: Request[] = [];
          const qemu = new ScriptedQemu((request, self) => {
            asked.push(request);
            if (asked.length < order.length) return;
            const bytes = Buffer.from(
              order
                .map((index) => {
                  const id = asked[index]?.id;
                  return `{"event": "X", "data": {"é": "\\n"}}\r\n\r\n {"id": ${id}, "return": "é${id}"}\r\n`;
                })
                .join(""),
            );
            let from = 0;
            for (let at = 0; from < bytes.length; at += 1) {
              const size = cuts[at % cuts.length] ?? 1;
              self.push(bytes.subarray(from, from + size));
              from += size;
            }
          });
          const events: QmpEvent[] = [];
          await using client = await QmpClient.connect(qemu, { ...options, onEvent: (event) => events.push(event) });
          const answers = await Promise.all(order.map(() => client.executeRaw("qom-get")));
          expect(answers).toEqual(asked.map((request) => `é${request.id}`));
          expect(events).toHaveLength(order.length);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("names command, class and description when QEMU refuses", async () => {
    const qemu = new ScriptedQemu((request, self) =>
      self.push(`{"id": ${request.id}, "error": {"class": "GenericError", "desc": "not now"}}\n`),
    );
    await using client = await QmpClient.connect(qemu, options);
    const error = await client.execute("migrate-start-postcopy").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({ command: "migrate-start-postcopy", class: "GenericError", desc: "not now" });
  });

  test("types events and stops telling who has had enough", async () => {
    const qemu = new ScriptedQemu(silent);
    await using client = await QmpClient.connect(qemu, options);
    const heard: QmpEvent[] = [];
    const enough = Promise.withResolvers<void>();
    const unsubscribe = client.on((event) => {
      heard.push(event);
      if (event.name === "SHUTDOWN") unsubscribe();
    });
    client.on((event) => event.name === "LAST" && enough.resolve());
    qemu.push(
      '{"timestamp": {"seconds": 2, "microseconds": 500}, "event": "MIGRATION", "data": {"status": "active"}}\n',
    );
    qemu.push('{"event": "RESUME"}\n{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\n');
    qemu.push('{"event": "LAST"}\n');
    await enough.promise;
    expect(heard).toEqual([
      { kind: "migration", name: "MIGRATION", status: "active", data: { status: "active" }, at_ms: 2000.5 },
      { kind: "resume", name: "RESUME", data: {}, at_ms: 0 },
      expect.objectContaining({ kind: "shutdown", guest: true, reason: "guest-reset" }),
    ]);
  });
});

describe("a QMP connection that goes wrong", () => {
  test("a greeting that never comes is a wait that ran out, with the last lines of QEMU", async () => {
    const qemu = new ScriptedQemu(silent, null);
    const error = await QmpClient.connect(qemu, { ...options, lastLines: () => ["qemu: bus error"] }).catch((e) => e);
    expect(error).toBeInstanceOf(WaitTimeoutError);
    expect(error.message).toMatch(/QMP greeting of the source's QEMU[\s\S]*bus error/);
    expect(qemu.destroyed).toBe(true);
  });

  test("a peer that is not QEMU is known by its first byte, newline or not", async () => {
    const qemu = new ScriptedQemu(silent, `SSH-2.0-OpenSSH ${"x".repeat(100)}`);
    const error = await QmpClient.connect(qemu, options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(QmpConnectionError);
    expect(String(error)).toMatch(/what came is not QMP: "SSH-2.0-OpenSSH x{64}"$/);
  });

  test("a command without an answer is a wait that ran out; its late answer disturbs nobody", async () => {
    let late = "";
    const qemu = new ScriptedQemu((request, self) => {
      if (request.command === "stop") late = `{"return": 1, "id": ${request.id}}\n`;
      else self.push(`${late}{"return": "now", "id": ${request.id}}\n`);
    });
    await using client = await QmpClient.connect(qemu, { ...options, lastLines: async () => ["paused"] });
    const error = await client.execute("stop", {}, { timeout_ms: 5 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WaitTimeoutError);
    expect(String(error)).toMatch(/answer stop[\s\S]*paused/);
    expect(await client.executeRaw("x")).toBe("now");
  });

  test("a connection that dies rejects every command that waits, by name, and later ones too", async () => {
    const qemu = new ScriptedQemu((request, self) => {
      if (request.command === "cont") self.destroy(new Error("ECONNRESET"));
    });
    const client = await QmpClient.connect(qemu, options);
    const answers = await Promise.allSettled([client.execute("stop"), client.execute("cont")]);
    expect(answers.map((answer) => answer.status === "rejected" && answer.reason.message)).toEqual([
      "the source's QEMU: no answer to stop: the connection broke: ECONNRESET",
      "the source's QEMU: no answer to cont: the connection broke: ECONNRESET",
    ]);
    await expect(client.execute("query-status")).rejects.toMatchObject({ command: "query-status" });
    expect((await client.closed).why).toMatch(/ECONNRESET/);
  });

  test("an end in the middle of a line says so", async () => {
    const qemu = new ScriptedQemu((_request, self) => {
      self.push('{"retu');
      self.push(null);
    });
    const client = await QmpClient.connect(qemu, options);
    await expect(client.execute("stop")).rejects.toThrow(
      /stop: the connection ended in the middle of a line, after "{\\"retu"/,
    );
  });

  test("closing rejects what waits", async () => {
    const client = await QmpClient.connect(new ScriptedQemu(silent), options);
    const answer = client.execute("stop");
    await client[Symbol.asyncDispose]();
    await expect(answer).rejects.toThrow(/we closed/);
  });

  test("a line without end is refused with its size", async () => {
    const qemu = new ScriptedQemu((_request, self) => self.push(`{"return": "${"x".repeat(2000)}`));
    const client = await QmpClient.connect(qemu, { ...options, line_bytes_max: 1000 });
    await expect(client.execute("stop")).rejects.toThrow(/a line of 2012 bytes or more/);
  });

  test("an answer to nothing is garbage, not ignored", async () => {
    const qemu = new ScriptedQemu((_request, self) => self.push('{"return": {}, "id": 77}\n'));
    const client = await QmpClient.connect(qemu, options);
    await expect(client.execute("stop")).rejects.toThrow(/never sent/);
  });

  test("a listener that throws ends the connection with its reason", async () => {
    const qemu = new ScriptedQemu((_request, self) => self.push('{"event": "STOP"}\n'));
    const client = await QmpClient.connect(qemu, options);
    client.on(() => {
      throw new Error("cannot write the timeline");
    });
    await expect(client.execute("stop")).rejects.toThrow(/listener failed on STOP: cannot write/);
  });

  test("whatever bytes come instead of a greeting: one error, no hang, at most 80 bytes shown", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, ends) => {
        const qemu = new ScriptedQemu(silent, null);
        const client = QmpClient.connect(qemu, { ...options, greeting_timeout_ms: 5 }).catch(
          (thrown: unknown) => thrown,
        );
        if (bytes.length > 0) qemu.push(bytes);
        if (ends) qemu.push(null);
        const error = await client;
        expect(error instanceof QmpConnectionError || error instanceof WaitTimeoutError).toBe(true);
        expect(String(error).length).toBeLessThan(650);
      }),
      { numRuns: 200 },
    );
  });

  test("whatever garbage comes later rejects the command that waits", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1, maxLength: 200 }), async (text) => {
        fc.pre(text.trim() !== "");
        const qemu = new ScriptedQemu((_request, self) => self.push(Buffer.from(`x${text}\n`)));
        const client = await QmpClient.connect(qemu, options);
        await expect(client.execute("stop")).rejects.toThrow(/no answer to stop: what came is not QMP/);
      }),
      { numRuns: 100 },
    );
  });

  test("goes on with an earlier process's session, wherever that one stopped reading", async () => {
    const earlier = '{"return": {}, "id": 7}\r\n{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}\r\n';
    const later = '{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 3}}\r\n';
    await fc.assert(
      fc.asyncProperty(fc.nat(earlier.length), async (cut) => {
        const events: string[] = [];
        const qemu = new ScriptedQemu((request, self) => self.push(`{"return": {}, "id": ${request.id}}\n`), null);
        await using client = QmpClient.resume(qemu, { ...options, onEvent: ({ name }) => events.push(name) });
        qemu.push(earlier.slice(cut) + later);
        await client.executeRaw("migrate-recover", {}, { oob: true });
        expect(events.at(-1)).toBe("RESUME");
        expect(events.length).toBe(cut <= earlier.indexOf("\n") + 1 ? 2 : 1);
        expect(qemu.requests.map(({ verb }) => verb)).toEqual(["exec-oob"]);
      }),
    );
  });

  test("drops the answer to a command of whoever was connected before, where it is told that somebody was", async () => {
    const before = `{"return": {}, "id": 51}\r\n`;
    const qemu = () => new ScriptedQemu(silent, `${GREETING}\r\n${before}`);
    await using client = await QmpClient.connect(qemu(), { ...options, taken_over: true });
    expect(client.oob).toBe(true);
    await expect(QmpClient.connect(qemu(), options)).rejects.toThrow(/never sent/);
  });
});
