import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { WaitTimeoutError } from "../../base/errors.ts";
import { LinuxControl } from "./control.ts";

/** The far end of the line: answers each command as told; `undefined` is silence. */
class FakeLine extends Duplex {
  readonly commands: string[] = [];
  readonly #answer: (command: string, id: string, line: FakeLine) => string | undefined;

  constructor(answer: (command: string, id: string, line: FakeLine) => string | undefined) {
    super();
    this.#answer = answer;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    for (const line of chunk.toString().split("\n")) {
      const [command, id] = line.split(" id=");
      if (!command || !id) continue;
      this.commands.push(command);
      const text = this.#answer(command, id, this);
      if (text !== undefined) this.push(text);
    }
    done();
  }
}

const verified = (id: string, bad: number, first: string) =>
  `verified id=${id} pages=8192 bad=${bad} first=${first} errors=${bad} n=7\r\n`;

describe("LinuxControl", () => {
  it("reads the answers to hello and verify, one command at a time", async () => {
    const line = new FakeLine((command, id) =>
      command === "hello" ? `state id=${id} n=5 errors=1 checked=6 uptime=700\n` : verified(id, 2, "44"),
    );
    using control = new LinuxControl(line);
    const both = await Promise.all([control.hello({ timeout_ms: 1000 }), control.verify({ timeout_ms: 1000 })]);
    expect(both).toEqual([
      { n: 5, errors: 1, checked: 6, uptime_ms: 700 },
      { pages: 8192, bad: 2, first_bad: 44, errors: 2, n: 7 },
    ]);
    expect(line.commands).toEqual(["hello", "verify"]);
  });

  it("reads how far each disk got", async () => {
    const line = new FakeLine((_command, id) => `disks id=${id} disk0=512 disk1=33 errors=0\r\n`);
    using control = new LinuxControl(line);
    expect(await control.disks({ timeout_ms: 1000 })).toEqual({ records: [512, 33], errors: 0 });
  });

  it("does not take a late answer for the answer to a later command", async () => {
    const late: string[] = [];
    const line = new FakeLine((_command, id) => {
      if (late.length === 0) {
        late.push(id);
        return undefined;
      }
      return verified(late[0] ?? "", 9, "1") + verified(id, 0, "none");
    });
    using control = new LinuxControl(line);
    await expect(control.verify({ timeout_ms: 20 })).rejects.toThrow(WaitTimeoutError);
    await expect(control.verify({ timeout_ms: 1000 })).resolves.toMatchObject({ bad: 0, first_bad: undefined });
  });

  it("says what came instead when time runs out, and keeps only a little of an endless line", async () => {
    const line = new FakeLine(() => `noise\n${"x".repeat(100_000)}`);
    using control = new LinuxControl(line);
    await expect(control.hello({ timeout_ms: 30 })).rejects.toThrow(/control line, in vain\nlast lines:\n {2}noise/);
  });

  it("fails at once when the guest refuses, answers rubbish, or the line closes or breaks", async () => {
    const run = (answer: (command: string, id: string, line: FakeLine) => string | undefined) =>
      new LinuxControl(new FakeLine(answer)).verify({ timeout_ms: 5000 });
    await expect(run((_c, id) => `error id=${id} reason=verify-timeout\n`)).rejects.toThrow(/verify-timeout/);
    await expect(run((_c, id) => `verified id=${id} pages=many\n`)).rejects.toThrow(/no number pages/);
    const closes = run((_c, _id, line) => void line.destroy());
    await expect(closes).rejects.toThrow(/closed/);
    await expect(run((_c, _id, line) => void line.destroy(new Error("reset")))).rejects.toThrow(/reset/);
  });

  it("refuses to ask over a line that is gone", async () => {
    const control = new LinuxControl(new FakeLine(() => undefined));
    control[Symbol.dispose]();
    await expect(control.hello({ timeout_ms: 5000 })).rejects.toThrow(/no longer used/);
  });
});
