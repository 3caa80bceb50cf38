import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WaitTimeoutError } from "../base/errors.ts";
import { waitFor, within } from "../base/wait.ts";
import type { StartedFleet } from "./fleet.ts";
import type { StartedHost } from "./host.ts";
import { testBed, testFleet } from "./testing/test-fleet.ts";

const MIB = 1024 ** 2;

async function read(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe("a host", () => {
  let fleet: StartedFleet;
  let host: StartedHost;

  beforeAll(async () => {
    fleet = await testFleet(await testBed());
    host = fleet.host("source");
  });

  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
  });

  describe("its shell", () => {
    it("gives what a command prints, both streams, with and without an end of line", async () => {
      expect(await host.run("echo out; echo err >&2")).toBe("out\nerr\n");
      expect(await host.run("printf 'no end of line'")).toBe("no end of line");
      expect(await host.run("true")).toBe("");
      expect(await host.run("printf 'größer €'")).toBe("größer €");
    });

    it("tells the code and the output of a command that fails", async () => {
      await expect(host.run("echo why; ls /nowhere; (exit 7)")).rejects.toThrow(
        /on source: "echo why; ls \/nowhere; \(exit 7\)" ended with code 7: why\n.*\/nowhere/,
      );
    });

    it("tells no more of a long command than its beginning", async () => {
      const secret = "5ec7e7".repeat(20);
      const [failing, silent] = [host.run(`false ${secret}`), host.run(`sleep 0.3; true ${secret}`, 50)];
      for (const command of [failing, silent]) {
        const error = await command.catch((thrown: Error) => thrown);
        expect(error).toBeInstanceOf(Error);
        expect(String(error)).not.toContain(secret);
      }
    });

    it("bears a large output", async () => {
      expect((await host.run("head -c 3000000 /dev/zero | tr '\\0' x", 20_000)).length).toBe(3_000_000);
    });

    it("runs commands in the order in which they were given, each for itself", async () => {
      const answers = await Promise.all(["cd /tmp; echo $PWD", "echo two", "echo $PWD"].map((line) => host.run(line)));
      expect(answers).toEqual(["/tmp\n", "two\n", "/\n"]);
    });

    it("does not take a late answer for that of the next command", async () => {
      await expect(host.run("sleep 0.5; echo late; (exit 3)", 50)).rejects.toThrow(WaitTimeoutError);
      expect(await host.run("echo mine")).toBe("mine\n");
      expect(await host.run("echo mine again")).toBe("mine again\n");
    });

    it.each(["echo 'open", "exit 4", "if true; then", "echo ) ("])(
      "goes on after a command that ends or breaks the shell: %s",
      async (command) => {
        await expect(host.run(command, 1_000)).rejects.toThrow();
        expect(await host.run("echo alive")).toBe("alive\n");
      },
    );

    it("does not give a command the shell's own input", async () => {
      expect(await host.run("cat")).toBe("");
      expect(await host.run("echo next")).toBe("next\n");
    });
  });

  describe("a process on it", () => {
    it("tells its pid, its lines and its exit code", async () => {
      using started = await host.spawn(["/bin/sh", "-c", "echo one; echo two >&2; echo $$; exit 5"], { A: "b" });
      expect(await started.exited).toBe(5);
      const lines: string[] = [];
      started.onLine((line, output) => lines.push(`${output} ${line}`));
      expect(lines.sort()).toEqual(["stderr two", `stdout ${started.pid}`, "stdout one"]);
      expect(started.gone).toBe(true);
    });

    it("has the environment asked for", async () => {
      using started = await host.spawn(["/bin/sh", "-c", 'echo "[$GREETING]"'], { GREETING: "a b=c" });
      await started.exited;
      expect(started.lastLines()).toEqual(["[a b=c]"]);
    });

    it("lives until it is killed, and its pid is the one inside the host", async () => {
      using started = await host.spawn(["sleep", "60"]);
      expect(await host.run(`cat /proc/${started.pid}/comm`)).toBe("sleep\n");
      expect(started.gone).toBe(false);
      await host.run(`kill -9 ${started.pid}`);
      expect(await within({ what: "its end", timeout_ms: 10_000 }, started.exited)).toBe(137);
    });

    it.each([
      ["true", 0],
      ["false", 1],
    ] as const)("may end at once: %s", async (command, code) => {
      for (let i = 0; i < 5; i++) {
        using started = await host.spawn([command]);
        expect(await started.exited).toBe(code);
      }
    });

    it("that is not there ends at once, and says so", async () => {
      using started = await host.spawn(["/no/such/program"]);
      expect(await started.exited).toBe(127);
      expect(started.lastLines().join()).toContain("/no/such/program");
    });

    it("is heard to its last word, though no end of line follows", async () => {
      using started = await host.spawn(["printf", "first\\nlast words"]);
      const lines: string[] = [];
      started.onLine((line) => lines.push(line));
      await started.exited;
      expect(started.lastLines()).toEqual(["first", "last words"]);
      expect(lines).toEqual(["first", "last words"]);
    });

    it("is not taken for dead because it closed its output", async () => {
      using started = await host.spawn(["/bin/sh", "-c", "echo here; exec sleep 60 >/dev/null 2>&1"]);
      await waitFor({ what: "its line", timeout_ms: 5_000 }, () => started.lastLines()[0]);
      await waitFor({ what: "its new program", timeout_ms: 5_000 }, async () =>
        (await host.run(`cat /proc/${started.pid}/comm`)) === "sleep\n" ? true : undefined,
      );
      // What the engine tells about the closed output has come when a round trip to it is over.
      await host.spawn(["true"]).then((other) => other.exited);
      expect(started.gone).toBe(false);
      await host.run(`kill -9 ${started.pid}`);
      expect(await within({ what: "its end", timeout_ms: 10_000 }, started.exited)).toBe(137);
    });

    it("keeps only the last lines of much output that nobody listens to", async () => {
      using started = await host.spawn(["seq", "1", "50000"]);
      await started.exited;
      expect(started.lastLines(2)).toEqual(["49999", "50000"]);
      let backlog = 0;
      started.onLine(() => backlog++);
      expect(backlog).toBeLessThanOrEqual(10_000);
      expect(backlog).toBeGreaterThan(0);
    });
  });

  describe("a file on it", () => {
    const hash = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

    beforeAll(async () => {
      // 40 MiB that are nearly all holes: data in the first, the middle and the last page.
      await host.run("truncate -s 40M /dev/shm/holes");
      for (const page of [0, 5_000, 10_239]) {
        await host.run(`dd if=/dev/urandom of=/dev/shm/holes bs=4096 count=1 seek=${page} conv=notrunc status=none`);
      }
    });

    it("is read whole, holes as zeros, and is not changed by it", async () => {
      const before = await host.run("stat -c %b /dev/shm/holes");
      const bytes = await read(await host.readFile("/dev/shm/holes"));
      expect(bytes.length).toBe(40 * MIB);
      expect(await host.run("sha256sum < /dev/shm/holes")).toBe(`${hash(bytes)}  -\n`);
      expect(bytes.subarray(4096, 8192).every((byte) => byte === 0)).toBe(true);
      expect(await host.run("stat -c %b /dev/shm/holes")).toBe(before);
    });

    it("is read from an offset, for a length", async () => {
      const whole = await read(await host.readFile("/dev/shm/holes"));
      const offset = 5_000 * 4096;
      const part = await read(await host.readFile("/dev/shm/holes", offset, 3 * MIB));
      expect(part.equals(whole.subarray(offset, offset + 3 * MIB))).toBe(true);
      const rest = await read(await host.readFile("/dev/shm/holes", 10_239 * 4096));
      expect(rest.equals(whole.subarray(10_239 * 4096))).toBe(true);
    });

    it("that is not there is an error that names it, every time", async () => {
      for (let i = 0; i < 10; i++) {
        await expect(host.readFile("/dev/shm/nothing").then(read)).rejects.toThrow(
          /reading \/dev\/shm\/nothing on source: .*No such file/,
        );
      }
    });

    it("is written for root alone, and in no command", async () => {
      await host.writeFile("/run/ferryman/secret.json", '{"a": "größer"}');
      expect(String(await read(await host.readFile("/run/ferryman/secret.json")))).toBe('{"a": "größer"}');
      expect(await host.run("stat -c '%a %u' /run/ferryman/secret.json")).toBe("600 0\n");
    });

    it("may have a name with spaces and quotes in it", async () => {
      await host.run(`echo hello > "/tmp/a 'b' c"`);
      expect(String(await read(await host.readFile("/tmp/a 'b' c")))).toBe("hello\n");
    });

    it("may be left half read", async () => {
      const stream = await host.readFile("/dev/shm/holes");
      for await (const _chunk of stream) break;
      expect(stream.destroyed).toBe(true);
      await waitFor({ what: "the reader on the host to end", timeout_ms: 10_000 }, async () =>
        (await host.run("cat /proc/[0-9]*/comm 2>/dev/null | grep -cx dd || true")) === "0\n" ? true : undefined,
      );
    });

    it("is not held in memory when it is read slowly", async () => {
      const stream = await host.readFile("/dev/zero");
      const chunks = stream[Symbol.asyncIterator]();
      await chunks.next();
      for (let i = 0; i < 200; i++) await turn();
      await host.run("sleep 0.5");
      expect(stream.readableLength).toBeLessThan(4 * MIB);
      stream.destroy();
    });

    it("whose host dies meanwhile is an error, not a shorter file", async () => {
      const target = fleet.host("target");
      const stream = await target.readFile("/dev/zero");
      let killed: Promise<void> | undefined;
      const reading = within(
        { what: "the end of the file", timeout_ms: 15_000 },
        (async () => {
          for await (const _chunk of stream) killed ??= target.kill();
        })(),
      );
      await expect(reading).rejects.toThrow(/reading \/dev\/zero on target/);
      await killed;
    });
  });

  it("that died says so to whoever asks something of it", async () => {
    const target = fleet.host("target");
    if (!target.gone) await target.kill();
    expect([target.up, target.gone]).toEqual([false, true]);
    await expect(target.run("true")).rejects.toThrow(/target/);
    await expect(target.spawn(["true"])).rejects.toThrow();
    await expect(target.readFile("/etc/hostname").then(read)).rejects.toThrow();
  });
});
