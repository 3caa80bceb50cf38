import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import { type StartedFleet, startFleet } from "../../fleet/fleet.ts";
import { linkAddress } from "../../fleet/links.ts";
import { PORTS, TOXIPROXY_API_PORT } from "../../fleet/ports.ts";
import { hostShmBytes } from "../../fleet/shm.ts";
import { type TestBed, testBed } from "../../fleet/testing/test-fleet.ts";
import { StartedVm } from "../../fleet/vm.ts";
import { agentMachine } from "./agent-machine.ts";
import { Agents } from "./agents.ts";
import { DEFAULT_TXSYNC } from "./settings.ts";
import { SMALL_BYTES, smallVm } from "./testing/small-vm.ts";

const TOKEN = "0".repeat(64);
/** Connects, and says "open" or the socket's error code. */
const DIAL = `
const [host, port] = process.argv.slice(1);
const socket = require("node:net").connect({ host, port: Number(port) });
const tell = (what) => { console.log(what); process.exit(); };
socket.once("connect", () => tell("open")).once("error", (error) => tell(error.code)).setTimeout(3000, () => tell("timeout"));`;

describe("who is on the fabric", () => {
  let bed: TestBed;
  const spec = (): Parameters<typeof startFleet>[1] => bed.spec({ shm_bytes: hostShmBytes(SMALL_BYTES) });
  const asked = smallVm();
  const dial = async (fleet: StartedFleet, from: HostRole, host: string, port: number): Promise<string> =>
    (await fleet.host(from).run(`/opt/ferryman/bin/node -e '${DIAL}' ${host} ${port}`, 10_000)).trim();

  beforeAll(async () => {
    bed = await testBed();
  });

  describe("in a stock run", () => {
    let fleet: StartedFleet;
    let vm: StartedVm;
    beforeAll(async () => {
      fleet = await startFleet(bed.docker, spec());
      // A host that was off the fabric for a while has its names still.
      await fleet.host("source").detachFromFabric();
      await fleet.host("source").attachToFabric();
      vm = await StartedVm.start(fleet.host("source"), {
        ...asked,
        ram: "file",
        incoming: true,
        paused: true,
        qemu_binary: "qemu-system-x86_64",
        version_text: "",
        emit: () => undefined,
        log: () => undefined,
        onConsole: () => undefined,
      });
    });
    afterAll(async () => {
      await vm?.[Symbol.asyncDispose]();
      await fleet?.[Symbol.asyncDispose]();
    });

    it("finds no monitor and no console of a neighbour, and finds the port of its migration", async () => {
      expect(await vm.control.execute("query-status")).toMatchObject({ status: "inmigrate" });
      (await vm.com2()).destroy();
      const uri = `tcp:0.0.0.0:${PORTS.link}`;
      await vm.control.executeRaw("migrate-incoming", { uri });
      for (const port of [PORTS.qmp_control, PORTS.qmp_oob, PORTS.qmp_watch, PORTS.com2]) {
        expect([port, await dial(fleet, "target", "source", port)]).toEqual([port, "ECONNREFUSED"]);
      }
      expect(await dial(fleet, "target", "links", TOXIPROXY_API_PORT)).toBe("ECONNREFUSED");
      const { host, port } = linkAddress("target", "source");
      expect(await dial(fleet, "target", host, port)).toBe("open");
    });
  });

  describe("under txsync", () => {
    let fleet: StartedFleet;
    let agents: Agents;
    const lines: string[] = [];
    beforeAll(async () => {
      fleet = await startFleet(bed.docker, spec());
      agents = await Agents.start(fleet, {
        settings: DEFAULT_TXSYNC,
        turn: 1,
        disks: [],
        storage_patience_ms: 60_000,
        token: TOKEN,
        qemu_binary: "qemu-system-x86_64",
        emit: () => undefined,
        log: () => (_name, line) => lines.push(line),
        onEvent: () => undefined,
      });
      const machine = agentMachine({ ...asked, hold: false });
      await agents.client("source").ask({ do: "prepare", machine, start: "boot" });
    });
    afterAll(async () => {
      await agents?.stop();
      await fleet?.[Symbol.asyncDispose]();
    });

    it("finds the agents' own ports and nothing else", async () => {
      // The monitors are there, for the harness.
      await waitFor({ what: "a monitor of QEMU", timeout_ms: 10_000 }, async () => {
        const socket = await fleet.host("source").connect(PORTS.qmp_control);
        const greeted = await new Promise((resolve) => {
          socket.once("data", () => resolve(true)).once("close", () => resolve(undefined));
        });
        socket.destroy();
        return greeted;
      });
      for (const port of [PORTS.qmp_control, PORTS.qmp_oob, PORTS.qmp_watch, PORTS.agent]) {
        expect([port, await dial(fleet, "target", "source", port)]).toEqual([port, "ECONNREFUSED"]);
      }
      expect(await dial(fleet, "escrow", "links", TOXIPROXY_API_PORT)).toBe("ECONNREFUSED");
      expect(await dial(fleet, "target", "source", PORTS.link)).toBe("open");
    });

    it("is told nothing by a process list: the agents' secret stands in a file of root's alone", async () => {
      const host = fleet.host("source");
      expect(await host.run("stat -c %a /run/ferryman/agent.json")).toBe("600\n");
      const config = JSON.parse(await host.run("cat /run/ferryman/agent.json")) as { secret: string };
      expect(config.secret).toMatch(/^[0-9a-f]{64}$/);
      const commands = await host.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
      expect(commands).toContain("agent.json");
      expect(commands).not.toContain(config.secret);
      expect(lines.join("\n")).not.toContain(config.secret);
    });

    it("forgets the pid of an agent that has ended", async () => {
      const before = agents.pid("escrow");
      await fleet.host("escrow").run("touch /run/ferryman/agent-hold");
      await fleet.host("escrow").run(`kill -9 ${before}`);
      await waitFor({ what: "the end of the escrow's agent to be told", timeout_ms: 10_000 }, () =>
        agents.pid("escrow") === undefined ? true : undefined,
      );
      await fleet.host("escrow").run("rm /run/ferryman/agent-hold");
      await waitFor({ what: "the escrow's agent to be back", timeout_ms: 10_000 }, () =>
        agents.pid("escrow") !== undefined && agents.pid("escrow") !== before ? true : undefined,
      );
    });
  });
});
