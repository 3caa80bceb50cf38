import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HOST_ROLES, type HostRole } from "../base/timeline.ts";
import { clean, findLeftovers } from "./clean.ts";
import { type FleetSpec, type StartedFleet, startFleet } from "./fleet.ts";
import { bulkAddress, linkAddress } from "./links.ts";
import { createNetworks } from "./networks.ts";
import { ownerOf } from "./owner.ts";
import { PORTS, TOXIPROXY_API_PORT } from "./ports.ts";
import { HOST_RIGHTS } from "./rights.ts";
import { connect, Peer } from "./testing/peer.ts";
import { type TestBed, testBed } from "./testing/test-fleet.ts";

const NONE = { containers: [], networks: [] };

describe("a fleet", () => {
  let bed: TestBed;
  let spec: FleetSpec;
  let fleet: StartedFleet;
  const peers = new Map<HostRole, Peer>();
  const peer = (role: HostRole): Peer => {
    const found = peers.get(role);
    if (!found) throw new Error(`no peer on ${role}`);
    return found;
  };
  const inspect = (role: string): Promise<Docker.ContainerInspectInfo> =>
    bed.docker.getContainer(`ferryman-${spec.run}-${role}`).inspect();
  const addressOn = async (role: string, network: "fabric" | "management"): Promise<string> =>
    (await inspect(role)).NetworkSettings.Networks[`ferryman-${spec.run}-${network}`]?.IPAddress ?? "";

  beforeAll(async () => {
    bed = await testBed();
    spec = bed.spec();
    fleet = await startFleet(bed.docker, spec);
    await Promise.all(
      HOST_ROLES.map(async (role) => {
        peers.set(role, await Peer.start(fleet.host(role)));
      }),
    );
  });

  afterAll(async () => {
    for (const started of peers.values()) started[Symbol.dispose]();
    await fleet?.[Symbol.asyncDispose]();
    expect(await findLeftovers(bed.docker, spec.run)).toEqual(NONE);
  });

  it("has no way out: the fabric is internal, the management network is not masqueraded", async () => {
    const fabric = await bed.docker.getNetwork(`ferryman-${spec.run}-fabric`).inspect();
    expect(fabric.Internal).toBe(true);
    const management = await bed.docker.getNetwork(`ferryman-${spec.run}-management`).inspect();
    expect(management.Options?.["com.docker.network.bridge.enable_ip_masquerade"]).toBe("false");
    expect(management.Options?.["com.docker.network.bridge.enable_icc"]).toBe("false");
    expect(Object.keys((await inspect("source")).NetworkSettings.Networks).sort()).toEqual([
      `ferryman-${spec.run}-fabric`,
      `ferryman-${spec.run}-management`,
    ]);
  });

  it("routes nothing over the fabric but the fabric itself", async () => {
    // /proc/net/route writes addresses as 32-bit numbers in the machine's byte order: little-endian here.
    const number = (hex = ""): number => Buffer.from(hex, "hex").readUInt32LE();
    const routes = (await fleet.host("source").run("cat /proc/net/route")).trim().split("\n").slice(1);
    const table = routes.map((line) => {
      const [device, to, gateway, , , , , mask] = line.split("\t");
      return { device, to: number(to), gateway: number(gateway), mask: number(mask) };
    });
    const own = Buffer.from((await addressOn("source", "fabric")).split(".").map(Number)).readUInt32BE();
    const fabric = table.find(({ to, mask }) => mask !== 0 && (own & mask) >>> 0 === to);
    expect(fabric).toMatchObject({ gateway: 0 });
    expect(table.filter(({ device }) => device === fabric?.device)).toHaveLength(1);
  });

  it("resolves no name outside", async () => {
    // .invalid exists nowhere (RFC 2606): the question alone must not leave. EAI_AGAIN: no name server can be reached.
    const resolving = peer("source").call("resolve", { name: "ferryman.invalid" });
    await expect(resolving).rejects.toThrow(/EAI_AGAIN/);
    expect((await inspect("source")).HostConfig.Dns).toEqual(["127.0.0.1"]);
  });

  it("lets no host reach another on the management network", async () => {
    const target = await addressOn("target", "management");
    expect(target).not.toBe("");
    await expect(peer("source").dialAddress({ host: target, port: PORTS.link }, 700)).rejects.toThrow(
      /timeout|EHOSTUNREACH|ECONNREFUSED/,
    );
    // The same port answers on the fabric, so that it is the network that is closed and not the door.
    await peer("source").dialAddress({ host: await addressOn("target", "fabric"), port: PORTS.link });
  });

  it("does not let a host change the links, wherever it asks", async () => {
    const [management, fabric] = [await addressOn("links", "management"), await addressOn("links", "fabric")];
    await expect(peer("source").dialAddress({ host: management, port: TOXIPROXY_API_PORT }, 700)).rejects.toThrow();
    await expect(peer("source").dialAddress({ host: fabric, port: TOXIPROXY_API_PORT }, 700)).rejects.toThrow(
      /ECONNREFUSED/,
    );
    // The same address has the proxies, so that it is the door that is closed and not the house.
    await peer("source").dialAddress({ host: fabric, port: linkAddress("source", "target").port });
  });

  it("carries a host's two ports over one link: what is done to the link is done to both", async () => {
    await peer("target").call("listen", { port: PORTS.bulk, echo: true });
    const bulk = bulkAddress("source", "target");
    const id = await peer("source").dialAddress(bulk);
    await peer("source").call("roundTrips", { id, count: 3 });
    const undo = await fleet.link("source-target").cutWithReset();
    try {
      for (const address of [bulk, linkAddress("source", "target")]) {
        await expect(peer("source").dialAddress(address, 700)).rejects.toThrow(/ECONNREFUSED/);
      }
      await peer("source").until(id, "the end of the bulk connection", ({ closed, ended }) => closed || ended);
    } finally {
      await undo();
    }
    await peer("source").dialAddress(bulk);
  });

  it("carries bytes between every two hosts, through Toxiproxy", async () => {
    const links = await addressOn("links", "fabric");
    for (const from of HOST_ROLES) {
      for (const to of HOST_ROLES) {
        if (from === to) continue;
        expect(await peer(from).call("resolve", { name: linkAddress(from, to).host })).toBe(links);
        const { near, far } = await connect(peer(from), peer(to));
        await peer(from).call("send", { id: near, bytes: 100_000 });
        const { received_hash } = await peer(to).until(far, "all of it", ({ received }) => received === 100_000);
        expect(received_hash).toBe((await peer(from).state(near)).sent_hash);
      }
    }
  });

  it("publishes management ports on the loopback address only", async () => {
    for (const role of [...HOST_ROLES, "links"]) {
      const info = await inspect(role);
      const bindings = Object.values(info.NetworkSettings.Ports).flatMap((ports) => ports ?? []);
      expect(bindings.length).toBeGreaterThan(0);
      expect(new Set(bindings.map(({ HostIp }) => HostIp))).toEqual(new Set(["127.0.0.1"]));
      expect(info.NetworkSettings.Ports[`${PORTS.link}/tcp`]).toBeUndefined();
    }
  });

  it("has no more rights than it needs", async () => {
    for (const role of HOST_ROLES) {
      const { HostConfig } = await inspect(role);
      expect(HostConfig.Privileged).toBe(false);
      expect(HostConfig.CapDrop).toEqual(["ALL"]);
      expect(HostConfig.CapAdd).toEqual(["SYS_PTRACE", "SYS_NICE"]);
      expect(HostConfig.SecurityOpt).toEqual(HOST_RIGHTS.security_options);
      expect(HostConfig.Devices ?? []).toEqual([]);
      expect(HostConfig.Binds ?? []).toEqual([]);
      expect([HostConfig.PidMode, HostConfig.UTSMode]).toEqual(["", ""]);
      expect(HostConfig.ShmSize).toBe(spec.shm_bytes);
      expect(await fleet.host(role).run("test ! -e /dev/kvm && echo none")).toBe("none\n");
      // What the kernel says of its processes: two capabilities (19, SYS_PTRACE; 23, SYS_NICE), and a filter of system calls.
      const status = await fleet.host(role).run("cat /proc/self/status");
      expect(status).toMatch(/^CapEff:\s0*880000$/m);
      expect(status).toMatch(/^CapBnd:\s0*880000$/m);
      expect(status).toMatch(/^Seccomp:\s2$/m);
      const mounting = fleet.host(role).run("mount -t tmpfs none /mnt || unshare --mount true");
      await expect(mounting).rejects.toThrow(/permission denied|not permitted/i);
    }
    const { HostConfig } = await inspect("links");
    expect(HostConfig.CapDrop).toEqual(["ALL"]);
    expect(HostConfig.CapAdd ?? []).toEqual([]);
    expect(HostConfig.SecurityOpt ?? []).toEqual([]);
  });

  it("stands beside another one, and the two do not meet", async () => {
    const other_spec = bed.spec({ devices: existsSync("/dev/kvm") ? ["/dev/kvm"] : [] });
    {
      await using other = await startFleet(bed.docker, other_spec);
      if (existsSync("/dev/kvm")) expect(await other.host("source").run("ls /dev/kvm")).toBe("/dev/kvm\n");
      using theirs = await Peer.start(other.host("source"));
      for (const network of ["fabric", "management"] as const) {
        const address = { host: await addressOn("target", network), port: PORTS.link };
        await expect(theirs.dialAddress(address, 700)).rejects.toThrow();
      }
      // Both call each other "links" and "source", and each means its own.
      expect(await theirs.call("resolve", { name: "links" })).not.toBe(await addressOn("links", "fabric"));
      await other.link("source-target").cutWithReset();
      await connect(peer("source"), peer("target"));
    }
    expect(await findLeftovers(bed.docker, other_spec.run)).toEqual(NONE);
    await connect(peer("source"), peer("target"));
  });

  it("opens a way between two hosts that does not mind what lies on their link", async () => {
    const undo = await fleet.link("source-target").cutWithReset();
    try {
      await peer("target").call("listen", { port: PORTS.way, echo: true });
      const way = await fleet.openWay("source", "target");
      const id = await peer("source").dialAddress(way.connect);
      await peer("source").call("roundTrips", { id, count: 3 });
    } finally {
      await undo();
    }
  });

  it("says that there is no such host or link", () => {
    expect(() => fleet.link("target-source")).toThrow(/there is no "target-source" in this fleet/);
  });

  it("does no harm to a fleet of the same name", async () => {
    await expect(startFleet(bed.docker, spec)).rejects.toThrow(/did not start|already exists/);
    await connect(peer("source"), peer("target"));
    const networks = await bed.docker.listNetworks({ filters: { name: [`ferryman-${spec.run}-`] } });
    expect(networks).toHaveLength(2);
  });
});

describe("a fleet that does not start", () => {
  it.each([
    ["no Toxiproxy image", { toxiproxy_image: "ferryman-test/nowhere:0" }],
    ["no host image", { host_image: "ferryman-test/nowhere:0" }],
    ["a device that is not there", { devices: ["/dev/ferryman-is-not-there"] }],
  ] as const)("leaves nothing: %s", async (_what, change) => {
    const bed = await testBed();
    const spec = bed.spec(change);
    await expect(startFleet(bed.docker, spec)).rejects.toThrow(
      new RegExp(`the hosts of run ${spec.run} did not start: .`),
    );
    expect(await findLeftovers(bed.docker, spec.run)).toEqual(NONE);
  });
});

describe("clean", () => {
  it("removes what a process that is gone left behind, and leaves what belongs to one that lives", async () => {
    const { docker, spec } = await testBed();
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    await once(child, "spawn");
    const [gone, alive] = [spec(), spec()];
    const leave = async ({ run, host_image }: FleetSpec, owner: string): Promise<AsyncDisposable> => {
      const networks = await createNetworks(docker, run, owner);
      const container = await docker.createContainer({
        Image: host_image,
        name: `ferryman-${run}-source`,
        Labels: { "ferryman.run": run, "ferryman.owner": owner },
        Entrypoint: ["sleep", "60"],
        HostConfig: { NetworkMode: networks.management },
      });
      await container.start();
      return networks;
    };
    try {
      await leave(gone, ownerOf(child.pid ?? 0) ?? "");
      await leave(alive, ownerOf(process.pid) ?? "");
      await clean(docker, { all: false });
      expect((await findLeftovers(docker, gone.run)).containers).toHaveLength(1);
      child.kill("SIGKILL");
      await once(child, "exit");
      // Two harnesses that begin at the same time clean at the same time.
      const removed = await Promise.all([clean(docker, { all: false }), clean(docker, { all: false })]);
      expect(removed.flatMap(({ containers }) => containers)).toContain(`ferryman-${gone.run}-source`);
      expect(await findLeftovers(docker, gone.run)).toEqual(NONE);
      const left = await findLeftovers(docker, alive.run);
      expect(left.containers).toEqual([`ferryman-${alive.run}-source`]);
      expect(left.networks).toHaveLength(2);
    } finally {
      child.kill("SIGKILL");
      for (const { run } of [gone, alive]) {
        await docker
          .getContainer(`ferryman-${run}-source`)
          .remove({ force: true })
          .catch(() => undefined);
        for (const name of (await findLeftovers(docker, run)).networks) await docker.getNetwork(name).remove();
      }
    }
  });
});
