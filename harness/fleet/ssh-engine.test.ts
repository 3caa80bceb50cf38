import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../base/wait.ts";
import { SshEngine, sshArguments, sshPlace } from "./ssh-engine.ts";

/**
 * A program in ssh's place: it makes the two sockets that it is told to, with an echo for the engine, and SOCKS 4 as
 * OpenSSH speaks it for the ports of this machine. It ends when its input does.
 */
const SSH = `#!${process.execPath}
const { createConnection, createServer } = require("node:net");
const words = process.argv.slice(2);
const after = (word) => words[words.indexOf(word) + 1];
const engine = createServer((one) => one.pipe(one)).listen(after("-L").split(":")[0]);
const ports = createServer((one) => one.once("data", (asked) => {
  // It has answered before it is through, and keeps what comes until then.
  one.pause();
  const far = createConnection(asked.readUInt16BE(2), "127.0.0.1");
  far.once("error", () => { console.error("channel 3: open failed: connect failed: Connection refused"); one.destroy(); });
  one.on("error", () => far.destroy());
  one.write(Buffer.from([0, 90, 0, 0, 0, 0, 0, 0]));
  far.once("connect", () => one.pipe(far).pipe(one));
})).listen(after("-D"));
let left = 2;
for (const server of [engine, ports]) server.once("listening", () => { left -= 1; if (left === 0) console.log("a greeting\\nferryman-is-let-in"); });
process.stdin.resume().once("end", () => process.exit(0));
`;

let folder: string;
const closing: (() => void)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-ssh-test-"));
});

afterEach(() => {
  for (const close of closing.splice(0)) close();
  rmSync(folder, { recursive: true, force: true });
});

function program(text: string): string {
  const path = join(folder, "program");
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return path;
}

async function open(text: string): Promise<SshEngine> {
  const engine = await SshEngine.open(sshPlace("ssh://me@machine"), folder, program(text));
  closing.push(() => engine.close());
  return engine;
}

/** A port that greets first, as QEMU's monitor does, and then says everything back. */
async function greeter(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((one) => {
    one.on("error", () => undefined).write("hello ");
    one.pipe(one);
  }).listen(0, "127.0.0.1");
  closing.push(() => server.close());
  await once(server, "listening");
  const address = server.address();
  return { server, port: typeof address === "object" ? (address?.port ?? 0) : 0 };
}

async function textOf(socket: Socket, length: number): Promise<string> {
  let text = "";
  socket.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  return await waitFor({ what: "the answer", timeout_ms: 10_000 }, () => (text.length < length ? undefined : text));
}

describe("DOCKER_HOST=ssh://…", () => {
  it.each([
    ["ssh://machine", { host: "machine", user: undefined, port: undefined, socket: "/var/run/docker.sock" }],
    ["ssh://me@Machine_1:2222/", { host: "Machine_1", user: "me", port: "2222", socket: "/var/run/docker.sock" }],
    [
      "ssh://a%40b@[fe80::1]/run/user/1000/docker.sock",
      { host: "fe80::1", user: "a@b", socket: "/run/user/1000/docker.sock" },
    ],
  ])("%s", (name, place) => {
    expect(sshPlace(name)).toMatchObject({ name, ...place });
  });

  it.each(["ssh://", "ssh://me:secret@machine", "ssh://machine?x=1"])(
    "%s is refused, and no password repeated",
    (name) => {
      expect(() => sshPlace(name)).toThrow("is no address such as ssh://me@machine, without a password.");
      expect(() => sshPlace(name)).not.toThrow("secret");
    },
  );

  it("asks nobody anything, and takes no machine's name for an option", () => {
    const words = sshArguments(sshPlace("ssh://me@-oProxyCommand=evil:22"), "/run/x");
    expect(words).toContain("BatchMode=yes");
    expect(words.slice(-3)).toEqual(["--", "-oProxyCommand=evil", expect.stringContaining("exec cat")]);
    expect(words.join(" ")).toContain("-l me -p 22 -L /run/x/engine:/var/run/docker.sock -D /run/x/ports --");
  });
});

describe("an engine through ssh", () => {
  it("has a socket here, and the ports of its machine, greetings and all", async () => {
    const engine = await open(SSH);
    const { port } = await greeter();
    const { socket, connected } = engine.connect(port);
    await connected;
    socket.write("world");
    expect(await textOf(socket, 11)).toBe("hello world");
    socket.destroy();
    expect(engine.ended).toBeUndefined();
  });

  it("ends with its input, and says so to whoever wants a port then", async () => {
    const engine = await open(SSH);
    engine.close();
    await waitFor({ what: "ssh to end", timeout_ms: 10_000 }, () => engine.ended);
    await expect(engine.connect(1).connected).rejects.toThrow("port 1 of machine: it ended with SIGTERM");
  });

  it.each([
    [
      "why ssh does not get there",
      "echo 'Permission denied (publickey).' >&2; exit 255",
      "Permission denied (publickey).",
    ],
    ["what the other machine says instead", "echo no home >&2; echo not available; exit 1", "no home; not available"],
    ["how it ended where it said nothing", "exit 255", "it ended with code 255"],
    ["that nothing was forwarded", "echo no forwardings >&2; echo ferryman-is-let-in; exec cat", "no forwardings"],
  ])("says %s", async (_what, script, words) => {
    const said = `DOCKER_HOST=ssh://me@machine: ssh does not get there: ${words}`;
    await expect(open(`#!/bin/sh\n${script}\n`)).rejects.toThrow(said);
  });

  it("says so where there is no ssh", async () => {
    await expect(SshEngine.open(sshPlace("ssh://machine"), folder, join(folder, "none"))).rejects.toThrow(
      "there is no ssh on this machine (Debian: openssh-client)",
    );
  });
});
