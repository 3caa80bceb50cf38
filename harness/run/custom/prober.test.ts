import { createServer, type Server, type Socket, connect as tcp } from "node:net";
import { Duplex } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import type { HostRole, TimelineEventBody } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import { runCheck } from "../../checks/check.ts";
import { probes } from "../../checks/probes.ts";
import { got, makeCase } from "../../checks/testing/make-case.ts";
import type { Reach } from "../net/reach.ts";
import { Prober } from "./prober.ts";

const told: TimelineEventBody[] = [];
const emit = (_: unknown, body: TimelineEventBody): void => void told.push(body);
const servers: Server[] = [];
afterEach(() => {
  told.length = 0;
  for (const server of servers.splice(0)) server.close();
});

/** A VM that is a server on this machine's loopback address. */
async function reached(serve: (socket: Socket) => void): Promise<Reach & { from: HostRole }> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    serve(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    from: "source",
    dial: async () => {
      const socket = tcp(port, "127.0.0.1");
      await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
      return socket;
    },
  };
}

const soon = { what: "it to be so", timeout_ms: 5_000 };

describe("the probes of a guest of which nothing is known", () => {
  it("take a number on its console for a counter that the world has seen, and another line for a sign of life", () => {
    const prober = new Prober([{ console: "step n=(\\d+)" }, { console: "^still here" }], emit);
    prober.onConsole("source", "[1.0] step n=7 and more");
    prober.onConsole("source", "nothing of that kind");
    prober.onConsole("source", "still here");
    expect(prober.steps("source")).toBe(8);
    expect(prober.steps("target")).toBeUndefined();
    expect(prober.answers).toEqual([1, 1]);
    expect(told).toEqual([{ kind: "guest.progress", host: "source", cpu: 0, step: 7, outside: true }]);
    prober.onConsole("target", "step n=9");
    expect(prober.steps("target")).toBe(10);
    expect(prober.steps("source")).toBe(8);
  });

  it("ask a port and an HTTP server again and again, of whichever host has the VM", async () => {
    using prober = new Prober([{ tcp: 22 }, { http: 80, path: "/health" }], emit);
    const asked: string[] = [];
    const vm = await reached((socket) =>
      socket.on("data", (bytes) => {
        asked.push(bytes.toString().split("\r\n")[0] ?? "");
        socket.end("HTTP/1.1 204 No Content\r\n\r\n");
      }),
    );
    prober.start(vm);
    await waitFor(soon, () => (prober.answers.every((count) => count >= 2) ? true : undefined));
    expect(asked[0]).toBe("GET /health HTTP/1.1");
    vm.from = "target";
    expect((await prober.look()).map(({ answered_ms }) => answered_ms !== undefined)).toEqual([true, true]);
    expect(prober.steps("target")).toBeGreaterThan(prober.steps("source") ?? 0);
  });

  it("are silent, and the check says which, where the VM answers one of them no more", async () => {
    using prober = new Prober([{ tcp: 80 }, { http: 80, path: "/health" }], emit);
    let well = true;
    let refused = 0;
    const vm = await reached((socket) =>
      socket.on("data", () => {
        if (!well) refused += 1;
        socket.end(`HTTP/1.1 ${well ? "200 OK" : "404 Gone"}\r\n\r\n`);
      }),
    );
    prober.start(vm);
    await waitFor(soon, () => (prober.answers.every((count) => count >= 1) ? true : undefined));
    well = false;
    // One asks after the other: none that was well is under way any more.
    await waitFor(soon, () => (refused > 0 ? true : undefined));
    const [tcp_before = 0] = prober.answers;
    const looking = prober.look();
    await waitFor(soon, () => ((prober.answers[0] ?? 0) > tcp_before + 1 ? true : undefined));
    prober[Symbol.dispose]();
    const evidence = { guest: { kind: "custom", can: ["probes"] } } as const;
    const judged = runCheck(probes, makeCase({ evidence, findings: { probes: got(await looking) } }));
    expect(judged).toMatchObject({
      verdict: false,
      summary: expect.stringContaining("http=80/health does not answer"),
    });
  });

  it("do not take an error of the server's for an answer", async () => {
    using prober = new Prober([{ http: 80, path: "/" }], emit);
    let asked = 0;
    prober.start(
      await reached((socket) =>
        socket.on("data", () => {
          asked += 1;
          socket.end("HTTP/1.1 503 No\r\n\r\n");
        }),
      ),
    );
    await waitFor(soon, () => (asked >= 2 ? true : undefined));
    expect(prober.answers).toEqual([0]);
    const looking = prober.look();
    prober[Symbol.dispose]();
    expect(await looking).toEqual([{ probe: "http=80/", last: "GET /: HTTP/1.1 503 No" }]);
  });

  it("type a command on the second serial line and do not take its echo for the answer", async () => {
    using prober = new Prober([{ serial: "is it running", answer: "running" }], emit);
    let lines = 0;
    const line = (): Duplex => {
      const duplex: Duplex = new Duplex({
        read: () => undefined,
        write: (bytes: Buffer, _, done) => {
          duplex.push(bytes);
          if (++lines > 1) duplex.push("$ run");
          if (lines > 1) duplex.push("ning\r\n");
          done();
        },
      });
      return duplex;
    };
    prober.moveTo({ host: { role: "source" }, alive: true, com2: async () => line() });
    prober.start(undefined);
    await waitFor(soon, () => (prober.answers[0] ?? 0) > 0 || undefined);
    expect(lines).toBeGreaterThan(1);
    expect(prober.steps("source")).toBeGreaterThan(0);
  });
});
