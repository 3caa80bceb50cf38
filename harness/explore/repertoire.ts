import { isLibvirt, type Manager } from "../base/configuration.ts";
import type { Recovery } from "../base/run-record.ts";
import { HOST_LINK_NAMES, HOST_ROLES, type HostRole, type LinkName } from "../base/timeline.ts";
import type { FaultSpec } from "../faults/index.ts";

/** A fault as matrix and exploration use it, with how long it lasts; absent: for good. */
export interface Deed {
  /** Names cells and folders: lower-case words with hyphens. */
  readonly name: string;
  readonly fault: FaultSpec;
  readonly lasts_ms?: number;
}

const VM_HOSTS = ["source", "target"] as const satisfies readonly HostRole[];
const MIB = 1024 ** 2;

/** Every kind of fault there is, on everything that it can strike, of which a run can still tell something. */
const TXSYNC: readonly Deed[] = [
  ...HOST_ROLES.flatMap((host): Deed[] => [
    { name: `kill-host-${host}`, fault: { fault: "kill-host", host } },
    { name: `freeze-host-${host}`, fault: { fault: "freeze-host", host }, lasts_ms: 2_000 },
    { name: `detach-host-${host}`, fault: { fault: "detach-host", host } },
    { name: `detach-host-${host}-4s`, fault: { fault: "detach-host", host }, lasts_ms: 4_000 },
    { name: `kill-agent-${host}`, fault: { fault: "kill-process", host, process: "agent" } },
    {
      name: `kill-agent-${host}-3s`,
      fault: { fault: "kill-process", host, process: "agent", stays_away: true },
      lasts_ms: 3_000,
    },
    { name: `freeze-agent-${host}`, fault: { fault: "freeze-process", host, process: "agent" }, lasts_ms: 1_500 },
    { name: `clock-on-${host}`, fault: { fault: "clock-step", host, clock: "monotonic", by_ms: 3_000 } },
    { name: `disk-full-${host}`, fault: { fault: "io-error", host, what: "promises", error: "full" }, lasts_ms: 2_000 },
    { name: `deny-promises-${host}`, fault: { fault: "deny-writes", host, what: "promises" }, lasts_ms: 2_000 },
  ]),
  ...VM_HOSTS.flatMap((host): Deed[] => [
    { name: `kill-qemu-${host}`, fault: { fault: "kill-process", host, process: "qemu" } },
    { name: `freeze-qemu-${host}`, fault: { fault: "freeze-process", host, process: "qemu" }, lasts_ms: 1_500 },
  ]),
  { name: "io-error-escrow", fault: { fault: "io-error", host: "escrow", what: "memory" }, lasts_ms: 2_000 },
  { name: "fill-shm-escrow", fault: { fault: "fill", host: "escrow", what: "shm" }, lasts_ms: 2_000 },
  { name: "pressure-escrow", fault: { fault: "cpu-pressure", host: "escrow", processes: 1 }, lasts_ms: 2_000 },
  ...HOST_LINK_NAMES.flatMap(linkDeeds),
];

function linkDeeds(link: LinkName): Deed[] {
  return [
    { name: `cut-reset-${link}`, fault: { fault: "cut-reset", link } },
    { name: `cut-reset-${link}-1s`, fault: { fault: "cut-reset", link }, lasts_ms: 1_000 },
    {
      name: `cut-reset-backward-${link}-1s`,
      fault: { fault: "cut-reset", link, direction: "backward" },
      lasts_ms: 1_000,
    },
    { name: `cut-silent-${link}`, fault: { fault: "cut-silent", link, direction: "both" } },
    { name: `cut-silent-${link}-2s`, fault: { fault: "cut-silent", link, direction: "both" }, lasts_ms: 2_000 },
    { name: `cut-forward-${link}`, fault: { fault: "cut-silent", link, direction: "forward" } },
    { name: `cut-backward-${link}-1s`, fault: { fault: "cut-silent", link, direction: "backward" }, lasts_ms: 1_000 },
    { name: `latency-${link}`, fault: { fault: "latency", link, latency_ms: 40, jitter_ms: 20 }, lasts_ms: 2_000 },
    { name: `bandwidth-${link}`, fault: { fault: "bandwidth", link, bytes_per_s: 4 * MIB }, lasts_ms: 2_000 },
    {
      name: `slice-${link}`,
      fault: { fault: "slice", link, bytes_mean: 700, bytes_variation: 600, delay_us: 20 },
      lasts_ms: 2_000,
    },
    { name: `byte-limit-${link}`, fault: { fault: "byte-limit", link, bytes: 3_000_000 }, lasts_ms: 3_000 },
  ];
}

/** Without agents and an escrow. */
const STOCK: readonly Deed[] = TXSYNC.filter(({ fault }) => {
  if ("process" in fault && fault.process === "agent") return false;
  if (fault.fault === "deny-writes" || fault.fault === "io-error" || fault.fault === "clock-step") return false;
  if ("link" in fault) return fault.link === "source-target";
  return !("host" in fault) || fault.host !== "escrow";
});

/** What only libvirt has: daemons, a client that waits, and the link over which the daemons hear each other. */
const LIBVIRT: readonly Deed[] = [
  ...VM_HOSTS.map(
    (host): Deed => ({
      name: `kill-daemon-${host}-1s`,
      fault: { fault: "kill-manager", host, part: "daemon" },
      lasts_ms: 1_000,
    }),
  ),
  { name: "kill-client-source", fault: { fault: "kill-manager", host: "source", part: "client" } },
  { name: "cut-reset-libvirt-1s", fault: { fault: "cut-reset", link: "libvirt" }, lasts_ms: 1_000 },
  { name: "cut-silent-libvirt", fault: { fault: "cut-silent", link: "libvirt", direction: "both" } },
  {
    name: "cut-silent-libvirt-2s",
    fault: { fault: "cut-silent", link: "libvirt", direction: "both" },
    lasts_ms: 2_000,
  },
];
const STOCK_LIBVIRT: readonly Deed[] = [...STOCK, ...LIBVIRT];

/** What can strike a run under this recovery, and where that is stock with this manager. */
export function repertoire(recovery: Recovery, manager?: Manager): readonly Deed[] {
  if (recovery === "txsync") return TXSYNC;
  return isLibvirt(manager) ? STOCK_LIBVIRT : STOCK;
}
