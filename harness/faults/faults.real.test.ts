import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { HostRole } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import { linkAddress } from "../fleet/links.ts";
import type { HostProcess } from "../fleet/process.ts";
import { connect, Peer } from "../fleet/testing/peer.ts";
import { type TestBed, testBed, testFleet } from "../fleet/testing/test-fleet.ts";
import { type FaultSpec, type Heal, inject, prepare } from "./index.ts";

describe("faults", () => {
  let bed: TestBed;
  let fleet: StartedFleet;
  let source: Peer;
  let target: Peer;
  let escrow: Peer;
  let victim: HostProcess | undefined;
  const healing: Heal[] = [];

  /** Injects, and heals after the test at the latest. */
  async function strike(spec: FaultSpec): Promise<Heal> {
    const context = { fleet, pid: () => victim?.pid };
    await prepare(spec, context);
    const heal = await inject(spec, context);
    if (heal) healing.push(heal);
    return heal ?? (() => Promise.reject(new Error("this fault has no healing")));
  }

  /** Sends and waits until all of it has come; returns how long that took. */
  async function carry(from: Peer, near: number, to: Peer, far: number, bytes: number): Promise<number> {
    const before = (await to.state(far)).received;
    const began_ms = performance.now();
    await from.call("send", { id: near, bytes });
    await to.until(far, `${bytes} bytes`, ({ received }) => received === before + bytes);
    return performance.now() - began_ms;
  }

  async function expectWhole(from: Peer, near: number, to: Peer, far: number): Promise<void> {
    const { sent, sent_hash } = await from.state(near);
    const { received_hash } = await to.until(far, `all ${sent} bytes`, ({ received }) => received >= sent);
    expect(received_hash).toBe(sent_hash);
  }

  /** Bytes over another link and back: by then, whatever was to come over the first one would have come. */
  async function aWhile(): Promise<void> {
    const { near, far } = await connect(escrow, source);
    for (let i = 0; i < 10; i++) await carry(escrow, near, source, far, 100_000);
    await escrow.call("destroy", { id: near });
  }

  beforeAll(async () => {
    bed = await testBed();
    fleet = await testFleet(bed);
    const start = (role: HostRole): Promise<Peer> => Peer.start(fleet.host(role));
    [source, target, escrow] = await Promise.all([start("source"), start("target"), start("escrow")]);
  });

  afterEach(async () => {
    for (const heal of healing.splice(0)) await heal().catch(() => undefined);
    victim?.[Symbol.dispose]();
    victim = undefined;
  });

  afterAll(async () => {
    for (const peer of [source, target, escrow]) peer?.[Symbol.dispose]();
    await fleet?.[Symbol.asyncDispose]();
  });

  describe("cut-reset", () => {
    it("ends connections in both directions, refuses new ones, leaves other links alone, and heals", async () => {
      const busy = await connect(source, target);
      const back = await connect(target, source);
      const other = await connect(source, escrow);
      await carry(source, busy.near, target, busy.far, 1_000);
      const heal = await strike({ fault: "cut-reset", link: "source-target" });
      // An end that only listens gets a FIN (see Link.cutWithReset), one that goes on sending an RST.
      const gone = ({ ended, closed }: { ended: boolean; closed: boolean }): boolean => ended || closed;
      for (const [peer, id] of [
        [source, busy.near],
        [target, busy.far],
        [target, back.near],
        [source, back.far],
      ] as const) {
        await peer.until(id, "the end of the connection", gone);
        const failed = await waitFor({ what: "a reset", timeout_ms: 10_000 }, async () => {
          await peer.call("send", { id, bytes: 1 });
          return (await peer.state(id)).error ?? undefined;
        });
        expect(["ECONNRESET", "EPIPE"]).toContain(failed);
      }
      await expect(source.dial("target")).rejects.toThrow("ECONNREFUSED");
      await expect(target.dial("source")).rejects.toThrow("ECONNREFUSED");
      await carry(source, other.near, escrow, other.far, 10_000);
      await heal();
      const again = await connect(source, target);
      await carry(source, again.near, target, again.far, 10_000);
      await carry(target, again.far, source, again.near, 10_000);
    });

    it("resets whoever is sending at that moment", async () => {
      const { near, far } = await connect(source, target);
      // More than all buffers on the way hold, to a reader that stands still: there is something left to send.
      await target.call("pause", { id: far });
      await source.call("send", { id: near, bytes: 60_000_000 });
      await strike({ fault: "cut-reset", link: "source-target" });
      const { error } = await source.until(near, "an error", (state) => state.error !== null);
      expect(["ECONNRESET", "EPIPE"]).toContain(error);
    });
  });

  it.each(["forward", "backward"] as const)(
    "cut-reset, %s: that end is told, the other hears nothing until the link heals, and only it",
    async (direction) => {
      // Opened from either end: the link is the same.
      const there = await connect(source, target);
      const back = await connect(target, source);
      const other = await connect(source, escrow);
      const heal = await strike({ fault: "cut-reset", link: "source-target", direction });
      const ends = [
        { first: { peer: source, id: there.near }, second: { peer: target, id: there.far } },
        { first: { peer: source, id: back.far }, second: { peer: target, id: back.near } },
      ] as const;
      for (const { first, second } of ends) {
        const [told, untold] = direction === "forward" ? [second, first] : [first, second];
        // It learns of it by what would come to it.
        await untold.peer.call("send", { id: untold.id, bytes: 10 });
        await told.peer.until(told.id, "the end of the connection", ({ ended, closed }) => ended || closed);
        await aWhile();
        expect(await untold.peer.state(untold.id)).toMatchObject({
          received: 0,
          ended: false,
          closed: false,
          error: null,
        });
      }
      await carry(source, other.near, escrow, other.far, 10_000);
      await heal();
      for (const { first, second } of ends) {
        const { peer, id } = direction === "forward" ? first : second;
        await peer.until(id, "the end of the connection", ({ ended, closed }) => ended || closed);
      }
      const again = await connect(source, target);
      await carry(source, again.near, target, again.far, 10_000);
      await carry(target, again.far, source, again.near, 10_000);
    },
  );

  describe("cut-silent", () => {
    it.each(["both", "forward", "backward"] as const)(
      "%s: stops that and nothing else, tells nobody, and afterwards all is there, in order, on the same connection",
      async (direction) => {
        // One connection opened from either end: the link is the same.
        const there = await connect(source, target);
        const back = await connect(target, source);
        const flows = [
          { from: source, near: there.near, to: target, far: there.far, way: "forward" },
          { from: source, near: back.far, to: target, far: back.near, way: "forward" },
          { from: target, near: there.far, to: source, far: there.near, way: "backward" },
          { from: target, near: back.near, to: source, far: back.far, way: "backward" },
        ] as const;
        for (const { from, near, to, far } of flows) await carry(from, near, to, far, 50_000);
        const heal = await strike({ fault: "cut-silent", link: "source-target", direction });
        for (let i = 0; i < 5; i++) {
          for (const { from, near } of flows) await from.call("send", { id: near, bytes: 70_001 });
        }
        await aWhile();
        for (const { from, near, to, far, way } of flows) {
          const state = await to.state(far);
          if (direction === "both" || direction === way) expect(state.received).toBe(50_000);
          else await expectWhole(from, near, to, far);
          expect(state).toMatchObject({ ended: false, closed: false, error: null });
        }
        await heal();
        for (const { from, near, to, far } of flows) {
          await expectWhole(from, near, to, far);
          await carry(from, near, to, far, 50_000);
          await expectWhole(from, near, to, far);
          expect(await to.state(far)).toMatchObject({ ended: false, closed: false, error: null });
        }
      },
    );

    it.each(["end", "destroy"] as const)("holds back the end of a connection too: %s", async (how) => {
      const { near, far } = await connect(source, target);
      await carry(source, near, target, far, 1_000);
      const heal = await strike({ fault: "cut-silent", link: "source-target", direction: "both" });
      await source.call(how, { id: near });
      await aWhile();
      expect(await target.state(far)).toMatchObject({ ended: false, closed: false, error: null });
      await heal();
      await target.until(far, "the end", ({ ended, closed }) => ended || closed);
    });

    it("keeps what a receiver that stands still has not taken when the link heals", async () => {
      const { near, far } = await connect(source, target);
      await carry(source, near, target, far, 1_000);
      const cut = await strike({ fault: "cut-silent", link: "source-target", direction: "both" });
      await target.call("pause", { id: far });
      await source.call("send", { id: near, bytes: 25_000_000 });
      await aWhile();
      // Toxiproxy would give up on a receiver after 5 s; ours takes longer.
      const healed = cut();
      await source.host.run("sleep 7", 10_000);
      await target.call("resume", { id: far });
      await healed;
      await expectWhole(source, near, target, far);
    });
  });

  it("heals what it did and not what another fault did to the same link", async () => {
    const { near, far } = await connect(source, target);
    const forward = await strike({ fault: "cut-silent", link: "source-target", direction: "forward" });
    const both = await strike({ fault: "cut-silent", link: "source-target", direction: "both" });
    await both();
    await carry(target, far, source, near, 1_000);
    await source.call("send", { id: near, bytes: 1_000 });
    await aWhile();
    expect((await target.state(far)).received).toBe(0);
    await forward();
    await expectWhole(source, near, target, far);
    // Healing once more does nothing.
    await forward();
    await carry(source, near, target, far, 1_000);
    expect(bed.events.filter(({ kind }) => kind === "link.state").at(-1)).toMatchObject({ state: "up" });
  });

  describe("shapes", () => {
    it("latency makes every round trip longer", async () => {
      const { near, far } = await connect(source, target);
      await target.call("echo", { id: far });
      const free_ms = await source.call<number>("roundTrips", { id: near, count: 5 });
      const heal = await strike({ fault: "latency", link: "source-target", latency_ms: 60, jitter_ms: 0 });
      const slow_ms = await source.call<number>("roundTrips", { id: near, count: 5 });
      await heal();
      const healed_ms = await source.call<number>("roundTrips", { id: near, count: 5 });
      expect(slow_ms).toBeGreaterThan(3 * free_ms);
      expect(slow_ms).toBeGreaterThan(3 * healed_ms);
    });

    it("bandwidth makes a transfer take longer, the more the less there is", async () => {
      const { near, far } = await connect(source, target);
      const free_ms = await carry(source, near, target, far, 400_000);
      const heal = await strike({ fault: "bandwidth", link: "source-target", bytes_per_s: 1_600_000 });
      const slow_ms = await carry(source, near, target, far, 400_000);
      await heal();
      const heal_slower = await strike({ fault: "bandwidth", link: "source-target", bytes_per_s: 200_000 });
      const slower_ms = await carry(source, near, target, far, 400_000);
      await heal_slower();
      const healed_ms = await carry(source, near, target, far, 400_000);
      expect(slow_ms).toBeGreaterThan(2 * Math.min(free_ms, healed_ms));
      expect(slower_ms).toBeGreaterThan(2 * slow_ms);
      await expectWhole(source, near, target, far);
    });

    it("slice makes it come in many small pieces, all of it", async () => {
      const { near, far } = await connect(source, target);
      await carry(source, near, target, far, 100_000);
      const whole = (await target.state(far)).reads;
      await strike({ fault: "slice", link: "source-target", bytes_mean: 500, bytes_variation: 100, delay_us: 300 });
      await carry(source, near, target, far, 100_000);
      expect((await target.state(far)).reads - whole).toBeGreaterThan(5 * whole);
      await expectWhole(source, near, target, far);
    });

    it("byte-limit ends a connection after exactly so many bytes", async () => {
      const { near: old_near, far: old_far } = await connect(source, target);
      await carry(source, old_near, target, old_far, 20_000);
      const heal = await strike({ fault: "byte-limit", link: "source-target", bytes: 12_345 });
      const { near, far } = await connect(source, target);
      await source.call("send", { id: near, bytes: 100_000 });
      await target.until(far, "the end", ({ ended, closed }) => ended || closed);
      expect((await target.state(far)).received).toBe(12_345);
      await source.until(near, "the end", ({ ended, closed }) => ended || closed);
      await heal();
      const again = await connect(source, target);
      await carry(source, again.near, target, again.far, 100_000);
    });
  });

  it("byte-limit, as every shape, may be in one direction only", async () => {
    await strike({ fault: "byte-limit", link: "source-target", direction: "backward", bytes: 12_345 });
    const { near, far } = await connect(source, target);
    await carry(source, near, target, far, 100_000);
    await target.call("send", { id: far, bytes: 100_000 });
    await source.until(near, "the end", ({ ended, closed }) => ended || closed);
    expect((await source.state(near)).received).toBe(12_345);
  });

  it("strikes one connection of a link, where it is told which", async () => {
    // Nothing is open yet: what is split counts from here.
    await fleet.splitLink("target-escrow");
    const [first, second, third] = [
      await connect(target, escrow),
      await connect(target, escrow),
      await connect(target, escrow),
    ];
    for (const { near, far } of [first, second, third]) await carry(target, near, escrow, far, 200_000);
    const heal = await strike({ fault: "cut-reset", link: "target-escrow", connection: 2 });
    await target.until(second.near, "the end", ({ ended, closed }) => ended || closed);
    for (const { near, far } of [first, third]) {
      await carry(target, near, escrow, far, 50_000);
      await carry(escrow, far, target, near, 50_000);
      await expectWhole(target, near, escrow, far);
    }
    await heal();
    const thaw = await strike({ fault: "cut-silent", link: "target-escrow", direction: "both", connection: 3 });
    await target.call("send", { id: third.near, bytes: 10_000 });
    await carry(target, first.near, escrow, first.far, 50_000);
    expect((await escrow.state(third.far)).received).toBe(250_000);
    await thaw();
    await expectWhole(target, third.near, escrow, third.far);
    // An end is handed on, and so is what comes after the fourth.
    await target.call("end", { id: first.near });
    await escrow.until(first.far, "the end", ({ ended }) => ended);
    for (let n = 4; n <= 6; n++) {
      const { near, far } = await connect(target, escrow);
      await carry(target, near, escrow, far, 1_000);
    }
    // The link as a whole is still one thing.
    await strike({ fault: "cut-reset", link: "target-escrow" });
    await target.until(third.near, "the end", ({ ended, closed }) => ended || closed);
    await expect(strike({ fault: "cut-reset", link: "target-escrow", connection: 9 })).rejects.toThrow(/first 4/);
  });

  it("cpu-pressure keeps so many processes of the host busy, and ends them", async () => {
    const host = fleet.host("target");
    const count = (): Promise<string> =>
      host.run(
        "n=0; for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in 'sh -c while :'*) n=$((n+1));; esac; done; echo $n",
      );
    const heal = await strike({ fault: "cpu-pressure", host: "target", processes: 2 });
    await waitFor({ what: "two busy processes", timeout_ms: 5_000 }, async () =>
      (await count()) === "2\n" ? true : undefined,
    );
    await heal();
    await waitFor({ what: "no busy process", timeout_ms: 5_000 }, async () =>
      (await count()) === "0\n" ? true : undefined,
    );
  });

  it("deny-writes has every new file refused in an agent's folders, and lets them be made again", async () => {
    const host = fleet.host("escrow");
    await host.run("mkdir -p /var/lib/ferryman/1 /dev/shm/ferryman-1/log; echo old > /var/lib/ferryman/1/promise");
    const heal = await strike({ fault: "deny-writes", host: "escrow", what: "promises" });
    await expect(host.run("echo new > /var/lib/ferryman/1/promise.new")).rejects.toThrow(/Permission denied/);
    await expect(host.run("mv /var/lib/ferryman/1/promise /tmp/")).rejects.toThrow(/Permission denied/);
    await host.run("echo new > /dev/shm/ferryman-1/log/segment");
    const heal_memory = await strike({ fault: "deny-writes", host: "escrow", what: "memory" });
    await expect(host.run("echo new > /dev/shm/ferryman-1/log/next")).rejects.toThrow(/Permission denied/);
    await heal();
    await heal_memory();
    await host.run("mv /var/lib/ferryman/1/promise /tmp/; echo new > /dev/shm/ferryman-1/log/next");
    await host.run("rm -r /var/lib/ferryman/1 /dev/shm/ferryman-1");
  });

  it("qmp says that there is nobody to ask where there is no QEMU", async () => {
    await expect(strike({ fault: "qmp", host: "target", command: "stop" })).rejects.toThrow(/no monitor of a QEMU/);
  });

  it("detach-host takes the host off the fabric, and back under its name", async () => {
    const heal = await strike({ fault: "detach-host", host: "target" });
    const near = await source.dial("target").catch(() => undefined);
    if (near !== undefined) {
      // Toxiproxy took the connection and finds nobody behind it.
      await source.until(near, "the end", ({ ended, closed }) => ended || closed);
    }
    await expect(target.dialAddress(linkAddress("target", "source"), 700)).rejects.toThrow();
    // The management network still reaches it, and the other hosts reach each other.
    expect(await fleet.host("target").run("echo here")).toBe("here\n");
    const other = await connect(source, escrow);
    await carry(source, other.near, escrow, other.far, 1_000);
    await heal();
    for (const [from, to] of [
      [source, target],
      [target, source],
      [escrow, target],
    ] as const) {
      const { near: a, far: b } = await connect(from, to);
      await carry(from, a, to, b, 10_000);
    }
  });

  it("freeze-host stands still and goes on, its connections with it", async () => {
    const { near, far } = await connect(source, target);
    const heal = await strike({ fault: "freeze-host", host: "target" });
    expect(fleet.host("target").up).toBe(false);
    await source.call("send", { id: near, bytes: 100_000 });
    await expect(fleet.host("target").run("true", 300)).rejects.toThrow(/target/);
    expect(await source.state(near)).toMatchObject({ ended: false, closed: false, error: null });
    await heal();
    expect(fleet.host("target").up).toBe(true);
    await expectWhole(source, near, target, far);
    expect(await fleet.host("target").run("echo back")).toBe("back\n");
  });

  it("freeze-process stops one process and no other", async () => {
    victim = await fleet.host("source").spawn(["/bin/sh", "-c", "while :; do sleep 0.05; done"]);
    const state = (): Promise<string> => fleet.host("source").run(`grep State: /proc/${victim?.pid}/status`);
    const heal = await strike({ fault: "freeze-process", host: "source", process: "qemu" });
    expect(await state()).toContain("T (stopped)");
    await heal();
    expect(await state()).not.toContain("stopped");
    await fleet.host("source").run(`kill -9 ${victim.pid}`);
  });

  it("kill-process kills one process, and the host stays", async () => {
    victim = await fleet.host("source").spawn(["sleep", "60"]);
    expect(
      await inject({ fault: "kill-process", host: "source", process: "qemu" }, { fleet, pid: () => victim?.pid }),
    ).toBe(undefined);
    expect(await victim.exited).toBe(137);
    expect(fleet.host("source").up).toBe(true);
    victim = undefined;
    await expect(strike({ fault: "kill-process", host: "source", process: "agent" })).rejects.toThrow(
      "there is no agent on source that could be hit",
    );
  });

  it("fill leaves no room on /dev/shm, and gives it back", async () => {
    const host = fleet.host("escrow");
    await host.run("echo before > /dev/shm/old");
    const write = "dd if=/dev/zero of=/dev/shm/new bs=4096 count=1 status=none";
    const heal = await strike({ fault: "fill", host: "escrow", what: "shm" });
    await expect(host.run(write)).rejects.toThrow(/No space left on device/);
    expect(await host.run("cat /dev/shm/old")).toBe("before\n");
    // Filling what is full is no error: it is full.
    await (await strike({ fault: "fill", host: "escrow", what: "shm" }))();
    await heal();
    await host.run(write);
    expect(await host.run("ls /dev/shm")).toBe("new\nold\n");
  });

  it("fill puts as much on the disk as it was told, and wants to be told", async () => {
    const host = fleet.host("escrow");
    await expect(strike({ fault: "fill", host: "escrow", what: "disk" })).rejects.toThrow(/needs a number of bytes/);
    const heal = await strike({ fault: "fill", host: "escrow", what: "disk", bytes: 1_000_000 });
    expect(await host.run("stat -c %s /run/ferryman/ballast*")).toBe("1000000\n");
    await heal();
    await expect(host.run("ls /run/ferryman/ballast*")).rejects.toThrow(/No such file/);
  });

  it("kill-host takes the host with its memory; what was to be healed there needs no healing", async () => {
    const host = fleet.host("escrow");
    const { near } = await connect(source, escrow);
    const thaw = await strike({ fault: "freeze-host", host: "escrow" });
    expect(await inject({ fault: "kill-host", host: "escrow" }, { fleet, pid: () => undefined })).toBe(undefined);
    expect([host.up, host.gone]).toEqual([false, true]);
    await thaw();
    expect([host.up, host.gone]).toEqual([false, true]);
    await source.until(near, "the end", ({ ended, closed }) => ended || closed);
    const info = await bed.docker.getContainer(host.container_name).inspect();
    expect(info.State.Running).toBe(false);
  });
});
