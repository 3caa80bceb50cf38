/**
 * The timeline of a run: one ordered list of events, written to `timeline.ndjson` as the run goes. Every check,
 * report and replay is a function of it, so whatever a reader needs to know has to stand here.
 */

export type HostRole = "source" | "target" | "escrow";
export const HOST_ROLES: readonly HostRole[] = ["source", "target", "escrow"];

/** The host that exports the VM's disks, in runs that have some. It has no VM and no vote. */
export const STORAGE = "storage";
export type FleetHost = HostRole | typeof STORAGE;

/** A link between two hosts, named by its ends in the order in which connections are opened: `source-target`. */
export type HostLinkName = `${HostRole}-${FleetHost}`;
/** `libvirt`: what lies between the two libvirt daemons of source and target, beside the link of the stream. */
export type LinkName = HostLinkName | "libvirt";
/** The links that every run has. */
export const HOST_LINK_NAMES = [
  "source-target",
  "source-escrow",
  "target-escrow",
] as const satisfies readonly LinkName[];

/** Where on the report an event belongs. */
export type Lane = "run" | FleetHost | `link:${LinkName}` | "migration" | "fault" | "client" | "check";

/** Phases of a run, in order. */
export type RunPhase = "fleet" | "boot" | "work" | "migrate" | "settle" | "check" | "teardown";

/** Steps of the migration protocol at which a fault may be triggered, in the order in which they normally come. */
export type ProtocolStep =
  | "setup"
  | "precopy"
  | "switchover"
  | "target-running"
  | "postcopy-paused"
  | "recovering"
  | "completing"
  | "completed"
  | "failed";

export type LinkDirection = "both" | "forward" | "backward";

export const VERDICTS = ["intact", "lost", "rollback", "corrupt", "split-brain", "unknown"] as const;
export type Verdict = (typeof VERDICTS)[number];
export type CheckVerdict = true | false | "unknown";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** What happened; sizes are bytes, times milliseconds. */
export type TimelineEventBody =
  /** `asked_sha256`: of the scenario's faults and limits as `run.json` has them, by which the run is judged. */
  | {
      readonly kind: "run.started";
      readonly scenario: string;
      readonly recovery: string;
      readonly seed: number;
      readonly asked_sha256?: string;
    }
  | { readonly kind: "run.phase"; readonly phase: RunPhase }
  | { readonly kind: "run.settled"; readonly how: string; readonly owner: HostRole | "none" }
  | { readonly kind: "run.note"; readonly text: string }
  /** What the run waits for, said now and then: what moved last, and for how long nothing has. */
  | { readonly kind: "run.waiting"; readonly what: string; readonly moved: string; readonly quiet_ms: number }
  /** `evidence_sha256`, `record_sha256`: of `evidence.json`, by which the run was judged, and `run.json`, as they were written. */
  | {
      readonly kind: "run.finished";
      readonly verdict: Verdict;
      readonly as_expected: boolean;
      readonly evidence_sha256?: string;
      readonly record_sha256?: string;
    }
  | { readonly kind: "host.started"; readonly container: string }
  | { readonly kind: "host.gone"; readonly how: string }
  | { readonly kind: "qemu.started"; readonly pid: number; readonly version: string; readonly argv: readonly string[] }
  | { readonly kind: "qemu.exited"; readonly code: number | null; readonly last_lines: readonly string[] }
  /** Whether the vCPUs ran when the harness first asked: what QEMU told before that nobody heard. */
  | { readonly kind: "qemu.status"; readonly pid: number; readonly running: boolean }
  /** An event as QMP reported it: STOP, RESUME, MIGRATION, SHUTDOWN, ... with QEMU's own stamp, since the epoch. */
  | {
      readonly kind: "qmp.event";
      readonly event: string;
      readonly data: JsonValue;
      readonly pid?: number;
      readonly qemu_ms?: number;
    }
  /** What a fault asked a monitor, and whether it was answered within the fault's bound; `error`: QEMU refused. */
  | {
      readonly kind: "qmp.answer";
      readonly id: string;
      readonly command: string;
      readonly answered: boolean;
      /** Until the answer came, or until it was waited for no longer. */
      readonly answer_ms: number;
      readonly error?: string;
    }
  /** What manages QEMU on this host, where that is a program of its own: libvirt's daemon. */
  | { readonly kind: "manager.started"; readonly what: string; readonly pid: number }
  | {
      readonly kind: "manager.exited";
      readonly what: string;
      /** 128 and the number of the signal that ended it; null: the host went with it. */
      readonly code: number | null;
      readonly last_lines: readonly string[];
    }
  /** What it tells of itself, in its own words. */
  | { readonly kind: "manager.event"; readonly text: string }
  /** What it takes the VM for, whatever is so: "paused (post-copy failed)". */
  | { readonly kind: "manager.state"; readonly state: string }
  /** What it was asked for, in a few words, and what came of it; `code` null: it was not waited for, or was killed. */
  | {
      readonly kind: "manager.asked";
      readonly command: string;
      readonly code: number | null;
      readonly took_ms: number;
      readonly said: string;
    }
  | { readonly kind: "migration.status"; readonly side: "source" | "target"; readonly status: string }
  | { readonly kind: "migration.step"; readonly step: ProtocolStep }
  | {
      readonly kind: "migration.progress";
      readonly transferred_bytes: number;
      readonly remaining_bytes: number;
      readonly total_bytes: number;
      readonly pages_arrived: number;
      readonly pages_total: number;
      readonly pages_requested: number;
    }
  | { readonly kind: "fault.injected"; readonly fault: string; readonly id: string; readonly what: string }
  | { readonly kind: "fault.healed"; readonly fault: string; readonly id: string }
  | { readonly kind: "fault.failed"; readonly fault: string; readonly id: string; readonly error: string }
  | {
      readonly kind: "link.state";
      readonly link: LinkName;
      readonly direction: LinkDirection;
      readonly state: "up" | "reset" | "silent" | "shaped";
      readonly detail: string;
    }
  /** A client operation. `op` ties the phases of one operation together. */
  | {
      readonly kind: "client.op";
      readonly op: number;
      readonly name: "append" | "read";
      readonly phase: "invoked" | "acknowledged" | "failed" | "unknown";
      readonly host: HostRole | "none";
      readonly value?: number;
      readonly index?: number;
      readonly error?: string;
    }
  /** `outside`: the guest told it to the world; else it was peeked at in its memory. */
  | {
      readonly kind: "guest.progress";
      readonly host: HostRole;
      readonly cpu: number;
      readonly step: number;
      readonly outside?: boolean;
      /** When it was looked, on the run's clock: `at_ms` is when the harness heard of it. */
      readonly looked_ms?: number;
      /** For how long before that nobody had looked at a VM that runs. */
      readonly unseen_ms?: number;
      /** How long the guest has run, by its own clock. */
      readonly ran_ms?: number;
      /** What its wall clock says, since 1970. */
      readonly wall_ms?: number;
    }
  | { readonly kind: "guest.log"; readonly host: HostRole; readonly line: string }
  /** Transactions. `n` is the transaction number, `generation` the VM's incarnation. */
  | {
      readonly kind: "tx.taken";
      readonly generation: number;
      readonly n: number;
      readonly pages: number;
      readonly bytes: number;
      readonly stop_ms: number;
      readonly device_ms: number;
      readonly find_ms: number;
      readonly copy_ms: number;
      /** From before `stop` was asked until `cont` was answered; later than the guest by what the answer was late. */
      readonly pause_ms: number;
      /** How long the guest stood still by QEMU's own stamps of STOP and RESUME. */
      readonly still_ms?: number;
      /** Of that, for how long it was only held back, because it writes more than the log takes. */
      readonly held_ms?: number;
      /** From when `cont` was asked until QEMU's stamp of RESUME. */
      readonly cont_ms?: number;
    }
  /** A record is on its way to the escrow: half of its pages or more are handed to the connection, its end is not. */
  | { readonly kind: "tx.sending"; readonly generation: number; readonly n: number; readonly pages_sent: number }
  /** Of a record that takes long: so much of it has gone into the connection. */
  | { readonly kind: "tx.progress"; readonly generation: number; readonly n: number; readonly pages_sent: number }
  | { readonly kind: "tx.stored"; readonly generation: number; readonly n: number; readonly bytes: number }
  | { readonly kind: "tx.committed"; readonly generation: number; readonly n: number; readonly latency_ms: number }
  | {
      readonly kind: "gate.released";
      readonly generation: number;
      readonly n: number;
      readonly bytes: number;
      readonly waited_ms: number;
    }
  /** So much of the VM's output waits that it stands still until half of it has gone. */
  | { readonly kind: "gate.full"; readonly generation: number; readonly bytes: number }
  /** It runs again: what waits now, the most that waited, and how long it stood. */
  | {
      readonly kind: "gate.room";
      readonly generation: number;
      readonly bytes: number;
      readonly most_bytes: number;
      readonly stood_ms: number;
    }
  | { readonly kind: "lease.lost"; readonly peer: HostRole; readonly silent_ms: number }
  | { readonly kind: "lease.regained"; readonly peer: HostRole }
  | { readonly kind: "vote.asked"; readonly generation: number }
  | { readonly kind: "vote.promised"; readonly generation: number; readonly to: HostRole }
  | { readonly kind: "vote.refused"; readonly generation: number; readonly to: HostRole; readonly why: string }
  /** A message of a vote is sent. `pre`: it only asks, or says, what the answer would be. */
  | {
      readonly kind: "vote.message";
      readonly message: "ask" | "promise" | "refuse";
      readonly pre: boolean;
      readonly generation: number;
      /** What the owner of that generation may do (harness/txsync/core/values.ts, Mode). */
      readonly mode: string;
      readonly to: HostRole;
    }
  | { readonly kind: "generation.opened"; readonly generation: number; readonly owner: HostRole }
  | { readonly kind: "generation.closed"; readonly generation: number }
  | { readonly kind: "restore.started"; readonly generation: number; readonly n: number }
  /** The restored memory is there, and the device state goes to QEMU. */
  | { readonly kind: "restore.made"; readonly generation: number; readonly n: number }
  | {
      readonly kind: "restore.finished";
      readonly generation: number;
      readonly n: number;
      readonly pages: number;
      readonly restore_ms: number;
    }
  /** The restored RAM, read back, gave the digest that the record carries. */
  | {
      readonly kind: "restore.verified";
      readonly generation: number;
      readonly n: number;
      readonly pages: number;
      readonly digest: string;
    }
  | { readonly kind: "restore.running"; readonly generation: number }
  /** Whom the target's agent asks for pages from now on (harness/txsync/core/values.ts, PageRoute). */
  | { readonly kind: "pages.route"; readonly route: string }
  | { readonly kind: "takeover"; readonly server: HostRole; readonly pages_left: number }
  /** The first pages of whoever took over have come. */
  | { readonly kind: "takeover.served"; readonly server: HostRole }
  | { readonly kind: "handoff"; readonly generation: number; readonly n: number }
  | { readonly kind: "protection"; readonly state: "on" | "off"; readonly why: string }
  /** Escrow and owner together have all of the base: the host that serves it may be lost from now on. */
  | { readonly kind: "base.covered" }
  /** A rule of the protocol was broken, and somebody refused to go along with it. */
  | { readonly kind: "violation"; readonly why: string }
  /** How an agent is, since it started: delay of its event loop, and its memory. */
  | {
      readonly kind: "agent.vitals";
      readonly control_late_p99_ms: number;
      readonly control_late_max_ms: number;
      readonly rss_mib: number;
    }
  /** What a host has used since the migration began, seen from the harness; absent: it has no agent. */
  | {
      readonly kind: "host.usage";
      /** The agent and its helpers, all threads and lives; QEMU does not count. */
      readonly agent_cpu_ms?: number;
      readonly qemu_cpu_ms: number;
      /** On the fabric. */
      readonly sent_bytes: number;
      readonly received_bytes: number;
    }
  | { readonly kind: "check.result"; readonly check: string; readonly verdict: CheckVerdict; readonly summary: string }
  | { readonly kind: "log"; readonly stream: "qemu" | "agent" | "libvirt"; readonly line: string };

export type TimelineEvent = TimelineEventBody & {
  /** Since the run began, monotonic, with fractions. */
  readonly at_ms: number;
  readonly lane: Lane;
};

/** Where events go: handed to every part that has something to tell. */
export type Emit = (lane: Lane, body: TimelineEventBody) => void;
