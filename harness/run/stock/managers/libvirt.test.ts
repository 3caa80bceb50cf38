import { describe, expect, it } from "vitest";
import type { StartedVm } from "../../../fleet/vm.ts";
import type { LibvirtDaemon } from "../libvirt/daemon.ts";
import { type LibvirtContext, LibvirtManager, ResumingLibvirtManager } from "./libvirt.ts";
import type { Seen } from "./manager.ts";

const BANDWIDTH = { bandwidth_bytes_per_s: 64 * 1024 ** 2, switchover: "at-once" } as const;

/** A host on which virsh is started, and ends when it is told to. */
class Host {
  readonly role = "source";
  readonly asked: { readonly words: readonly string[]; readonly end: (code: number) => void }[] = [];

  async spawn(argv: readonly string[]): Promise<object> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.asked.push({ words: argv.slice(argv.indexOf("--quiet") + 1), end: resolve });
    return { pid: this.asked.length, onLine: () => undefined, exited: promise };
  }

  /** What was asked for last ends so. */
  async ends(code: number): Promise<void> {
    this.asked.at(-1)?.end(code);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

class Daemon {
  state = "running";
  given_up = false;
  looks = 0;
  look(): void {
    this.looks += 1;
  }
}

function made<M extends LibvirtManager>(kind: new (context: LibvirtContext) => M) {
  const host = new Host();
  const vm = { host } as unknown as StartedVm;
  const daemons = { source: new Daemon(), target: new Daemon() };
  const manager = new kind({
    source: vm,
    plan: BANDWIDTH,
    configuration: {},
    words: [],
    timeline: { emit: () => undefined } as unknown as LibvirtContext["timeline"],
    daemons: daemons as unknown as { source: LibvirtDaemon; target: LibvirtDaemon },
    findTarget: async () => vm,
  });
  const seen = (status: string, now_ms: number): Seen => ({
    source: { vm, status },
    target: { vm, status },
    now_ms,
    left_at_ms: 0,
    completing: false,
  });
  const failed = (): void => {
    for (const daemon of Object.values(daemons)) daemon.state = "running (post-copy failed)";
  };
  return { host, manager, daemons, seen, failed };
}

describe("libvirt by itself", () => {
  it("is asked for a migration from daemon to daemon, over the links", async () => {
    const { host, manager } = made(LibvirtManager);
    await manager.begin();
    const words = host.asked[0]?.words ?? [];
    expect(words.slice(0, 4)).toEqual(["migrate", "--live", "--p2p", "--postcopy"]);
    expect(words).toContain("tcp://links:7002");
    expect(words.at(-1)).toBe("qemu+tcp://links:7401/system");
  });

  it("resumes nothing: once its call has failed, the VM is given up", async () => {
    const { host, manager, seen } = made(LibvirtManager);
    await manager.begin();
    expect(await manager.tend(seen("postcopy-active", 1_000))).toBeUndefined();
    expect(await manager.tend(seen("postcopy-paused", 2_000))).toBeUndefined();
    expect(await manager.tend(seen("postcopy-paused", 9_000))).toBeUndefined();
    await host.ends(1);
    expect(await manager.tend(seen("postcopy-paused", 9_010))).toMatch(/libvirt by itself resumes nothing/);
    expect(host.asked).toHaveLength(1);
  });
});

describe("libvirt with an operator", () => {
  it("is asked to resume once both daemons call it failed, and again when that failed, one at a time", async () => {
    const { host, manager, seen, failed } = made(ResumingLibvirtManager);
    await manager.begin();
    await host.ends(1);
    await manager.tend(seen("postcopy-paused", 1_000));
    expect(host.asked).toHaveLength(1);
    failed();
    await manager.tend(seen("postcopy-paused", 1_100));
    expect(host.asked.at(-1)?.words).toContain("--postcopy-resume");
    await manager.tend(seen("postcopy-paused", 2_000));
    expect(host.asked).toHaveLength(2);
    await host.ends(1);
    await manager.tend(seen("postcopy-paused", 2_100));
    expect(host.asked).toHaveLength(3);
  });

  it("gives up when its patience ends, which begins anew with each break", async () => {
    const { manager, seen } = made(ResumingLibvirtManager);
    await manager.begin();
    await manager.tend(seen("postcopy-paused", 1_000));
    await manager.tend(seen("postcopy-active", 19_000));
    await manager.tend(seen("postcopy-paused", 20_000));
    expect(await manager.tend(seen("postcopy-paused", 39_000))).toBeUndefined();
    expect(await manager.tend(seen("postcopy-paused", 40_001))).toMatch(/there was no moment to resume it/);
  });

  it("gives up when nobody starts a daemon any more that ends each time", async () => {
    const { host, manager, daemons, seen, failed } = made(ResumingLibvirtManager);
    await manager.begin();
    await host.ends(1);
    failed();
    await manager.tend(seen("postcopy-paused", 1_000));
    await host.ends(1);
    daemons.target.given_up = true;
    expect(await manager.tend(seen("postcopy-paused", 1_500))).toMatch(
      /resuming it 1 times .* is not started any more/,
    );
  });
});
