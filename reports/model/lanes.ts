import type { HostRole, LinkName } from "../../harness/base/timeline.ts";
import { HOST_ROLES } from "../../harness/base/timeline.ts";
import { faultName, shortLabel } from "./describe.ts";
import { isSample, type ReportEvent } from "./event.ts";

/** How serious a thing is. It chooses the colour, never alone: shape, pattern and text say the same. */
export type Tone = "neutral" | "info" | "good" | "warn" | "bad";

/** Outline of a mark. A filled circle is a plain event, a cross is a loss, a triangle a warning, a diamond a decision. */
export type Shape = "dot" | "ring" | "cross" | "triangle" | "diamond" | "square" | "tick" | "up" | "down" | "query";

/** Filling of a bar. Hatched means broken, dotted means uncertain or slow, hollow means waiting. */
export type Pattern = "solid" | "hatched" | "dotted" | "hollow";

export interface Mark {
  readonly at_ms: number;
  readonly shape: Shape;
  readonly tone: Tone;
  readonly label: string;
  /** Index into the list of events. */
  readonly event: number;
}

export interface Bar {
  readonly from_ms: number;
  readonly to_ms: number;
  /** False when the end of the run cut the bar off: the thing never ended. */
  readonly closed: boolean;
  readonly pattern: Pattern;
  readonly tone: Tone;
  readonly label: string;
  /** The event that began it, and the one that ended it (the same where there is none). */
  readonly event: number;
  readonly last: number;
  /** Row within the lane, from 0. */
  readonly row: number;
}

export interface LaneModel {
  readonly id: string;
  readonly title: string;
  /** In order of `from_ms`. */
  readonly bars: readonly Bar[];
  /** In order of `at_ms`. */
  readonly marks: readonly Mark[];
  readonly rows: number;
  /** Indices of all events of the lane, bars' ends included, in order of time: what the arrow keys walk. */
  readonly events: readonly number[];
}

const ROWS_MAX = 4;

/** The event that ends something that an earlier event began. */
interface OpenBar {
  readonly from_ms: number;
  readonly event: number;
  readonly pattern: Pattern;
  readonly tone: Tone;
  readonly label: string;
}

class LaneBuilder {
  readonly id: string;
  readonly title: string;
  readonly #bars: Omit<Bar, "row">[] = [];
  readonly #marks: Mark[] = [];
  readonly #events = new Set<number>();
  readonly #open = new Map<string, OpenBar>();

  constructor(id: string, title: string) {
    this.id = id;
    this.title = title;
  }

  mark(event: number, at_ms: number, shape: Shape, tone: Tone, label: string): void {
    this.#marks.push({ event, at_ms, shape, tone, label });
    this.#events.add(event);
  }

  /** A line of text at the foot of the lane; those of log files are too many for the arrow keys to walk. */
  tick(event: number, at_ms: number, tone: Tone, walked: boolean): void {
    this.#marks.push({ event, at_ms, shape: "tick", tone, label: "" });
    if (walked) this.#events.add(event);
  }

  open(key: string, bar: OpenBar): void {
    this.#open.set(key, bar);
    this.#events.add(bar.event);
  }

  /** Ends the bar of that key; `change` says what the end made of it. False when nothing was open. */
  close(
    key: string,
    event: number,
    at_ms: number,
    change: Partial<Pick<Bar, "pattern" | "tone" | "label">> = {},
  ): boolean {
    const bar = this.#open.get(key);
    if (bar === undefined) return false;
    this.#open.delete(key);
    this.#events.add(event);
    this.#bars.push({ ...bar, ...change, to_ms: at_ms, last: event, closed: true });
    return true;
  }

  finish(end_ms: number): LaneModel {
    for (const bar of this.#open.values()) {
      this.#bars.push({ ...bar, to_ms: Math.max(end_ms, bar.from_ms), last: bar.event, closed: false });
    }
    this.#bars.sort((a, b) => a.from_ms - b.from_ms);
    this.#marks.sort((a, b) => a.at_ms - b.at_ms);
    const rowEnds: number[] = [];
    const bars = this.#bars.map((bar): Bar => {
      let row = rowEnds.findIndex((end) => end <= bar.from_ms);
      if (row === -1) row = rowEnds.length < ROWS_MAX ? rowEnds.length : ROWS_MAX - 1;
      rowEnds[row] = Math.max(rowEnds[row] ?? 0, bar.to_ms);
      return { ...bar, row };
    });
    const events = [...this.#events].sort((a, b) => a - b);
    return { id: this.id, title: this.title, bars, marks: this.#marks, rows: Math.max(1, rowEnds.length), events };
  }

  get empty(): boolean {
    return this.#events.size === 0;
  }
}

/**
 * Lanes of the report from the timeline: run, migration, faults, the three hosts and what libvirt tells on them, every link seen, transactions,
 * votes and generations, client operations, checks. A lane without events is left out, but for the hosts.
 * Samples (progress) are on no lane: they are plotted.
 */
export function buildLanes(events: readonly ReportEvent[]): LaneModel[] {
  const lanes = new Map<string, LaneBuilder>();
  const lane = (id: string, title: string): LaneBuilder => {
    const known = lanes.get(id);
    if (known !== undefined) return known;
    const made = new LaneBuilder(id, title);
    lanes.set(id, made);
    return made;
  };
  lane("run", "Run");
  lane("migration", "Migration");
  lane("fault", "Faults");
  for (const role of HOST_ROLES) {
    lane(role, capitalised(role));
    lane(`manager:${role}`, `libvirt on ${role}`);
  }
  for (const link of linksOf(events)) lane(`link:${link}`, `Link ${link}`);
  lane("tx", "Transactions");
  lane("votes", "Votes and generations");
  lane("client", "Client operations");
  lane("check", "Checks");

  const end_ms = events.reduce((last, event) => Math.max(last, event.at_ms), 0);
  events.forEach((event, index) => {
    if (!isSample(event)) place(event, index, lane);
  });
  const hosts: readonly string[] = HOST_ROLES;
  return [...lanes.values()]
    .filter((built) => hosts.includes(built.id) || !built.empty)
    .map((built) => built.finish(end_ms));
}

type LaneGetter = (id: string, title: string) => LaneBuilder;

function place(event: ReportEvent, index: number, lane: LaneGetter): void {
  const at_ms = event.at_ms;
  const home = (): LaneBuilder => lane(laneIdOf(event), laneIdOf(event));
  const managers = (): LaneBuilder => lane(`manager:${event.lane}`, `libvirt on ${event.lane}`);
  const mark = (to: LaneBuilder, shape: Shape, tone: Tone): void =>
    to.mark(index, at_ms, shape, tone, shortLabel(event));
  const bar = (label: string, tone: Tone, pattern: Pattern): OpenBar => ({
    from_ms: at_ms,
    event: index,
    label,
    tone,
    pattern,
  });
  switch (event.kind) {
    case "run.phase":
      lane("run", "Run").close("phase", index, at_ms);
      lane("run", "Run").open("phase", bar(event.phase, "neutral", "solid"));
      return;
    case "run.finished":
      lane("run", "Run").close("phase", index, at_ms);
      mark(lane("run", "Run"), "diamond", event.as_expected ? "good" : "bad");
      return;
    case "run.waiting":
      mark(lane("run", "Run"), "query", "warn");
      return;
    case "run.settled":
      mark(lane("run", "Run"), "diamond", event.owner === "none" ? "bad" : "good");
      return;
    case "migration.step": {
      const migration = lane("migration", "Migration");
      const tone =
        event.step === "failed"
          ? "bad"
          : event.step === "postcopy-paused"
            ? "warn"
            : event.step === "completed"
              ? "good"
              : "info";
      const pattern = event.step === "failed" ? "hatched" : event.step === "postcopy-paused" ? "dotted" : "solid";
      migration.close("step", index, at_ms);
      migration.open("step", bar(event.step, tone, pattern));
      return;
    }
    case "migration.status":
      mark(lane("migration", "Migration"), event.side === "source" ? "up" : "down", toneOfStatus(event.status));
      return;
    case "fault.injected":
      lane("fault", "Faults").open(event.id, bar(faultName(event), "bad", "hatched"));
      return;
    case "fault.healed":
      if (!lane("fault", "Faults").close(event.id, index, at_ms)) mark(lane("fault", "Faults"), "ring", "good");
      return;
    case "fault.failed":
      mark(lane("fault", "Faults"), "cross", "bad");
      return;
    case "link.state": {
      const on = lane(`link:${event.link}`, `Link ${event.link}`);
      const directions = event.direction === "both" ? (["forward", "backward"] as const) : ([event.direction] as const);
      const wasOpen = directions.map((direction) => on.close(direction, index, at_ms)).some(Boolean);
      if (event.state === "up") {
        if (!wasOpen) mark(on, "ring", "good");
        return;
      }
      const suffix = event.detail === "" ? "" : `: ${event.detail}`;
      for (const direction of directions) {
        const name = event.direction === "both" ? event.state : `${event.state} ${direction}`;
        const pattern = event.state === "shaped" ? "dotted" : event.state === "silent" ? "hollow" : "hatched";
        // Both directions in one bar, unless one of them is alone.
        if (event.direction === "both" && direction === "backward") continue;
        on.open(direction, bar(`${name}${suffix}`, event.state === "shaped" ? "warn" : "bad", pattern));
      }
      return;
    }
    case "qemu.started":
      home().close("qemu", index, at_ms);
      home().open("qemu", bar(`QEMU ${event.version}`, "info", "solid"));
      return;
    case "qemu.exited": {
      const ended = home().close("qemu", index, at_ms);
      if (!ended || event.code !== 0)
        mark(home(), event.code === 0 ? "ring" : "cross", event.code === 0 ? "neutral" : "bad");
      return;
    }
    case "host.gone":
      home().close("qemu", index, at_ms);
      mark(home(), "cross", "bad");
      return;
    case "qmp.event":
      mark(home(), event.event === "STOP" ? "square" : "dot", toneOfQmp(event.event));
      return;
    case "qmp.answer":
      mark(home(), "square", event.answered ? "info" : "bad");
      return;
    case "manager.started":
      managers().open("daemon", bar(event.what, "info", "solid"));
      return;
    case "manager.exited":
      managers().close("daemon", index, at_ms);
      mark(managers(), "cross", "bad");
      return;
    case "manager.event":
      mark(managers(), "dot", "neutral");
      return;
    case "manager.state":
      mark(managers(), "diamond", event.state.includes("failed") ? "bad" : "info");
      return;
    case "manager.asked":
      mark(managers(), "square", event.code === 0 ? "good" : "warn");
      return;
    case "pages.route":
      mark(home(), "dot", "neutral");
      return;
    case "log":
    case "file.line":
    case "guest.log":
      home().tick(
        index,
        at_ms,
        /\b(error|fail(ed|ure)?|panic|oops|fatal|corrupt)/i.test(event.line) ? "warn" : "neutral",
        event.kind !== "file.line",
      );
      return;
    case "tx.taken": {
      const tx = lane("tx", "Transactions");
      const key = `${event.generation}/${event.n}`;
      tx.open(key, { ...bar(`tx ${event.n}`, "warn", "hollow"), from_ms: Math.max(0, at_ms - event.pause_ms) });
      return;
    }
    case "tx.stored":
      mark(lane("tx", "Transactions"), "square", "info");
      return;
    case "tx.committed": {
      const tx = lane("tx", "Transactions");
      const closed = tx.close(`${event.generation}/${event.n}`, index, at_ms, { tone: "good", pattern: "solid" });
      if (!closed) mark(tx, "diamond", "good");
      return;
    }
    case "gate.released":
      mark(lane("tx", "Transactions"), "up", "good");
      return;
    case "gate.full":
      mark(lane("tx", "Transactions"), "triangle", "warn");
      return;
    case "gate.room":
      mark(lane("tx", "Transactions"), "ring", "good");
      return;
    case "handoff":
      mark(lane("tx", "Transactions"), "diamond", "good");
      return;
    case "base.covered":
      mark(lane("votes", "Votes and generations"), "dot", "good");
      return;
    case "protection": {
      const tx = lane("votes", "Votes and generations");
      mark(tx, event.state === "on" ? "ring" : "triangle", event.state === "on" ? "good" : "warn");
      return;
    }
    case "lease.lost":
      mark(lane("votes", "Votes and generations"), "triangle", "warn");
      return;
    case "lease.regained":
      mark(lane("votes", "Votes and generations"), "ring", "good");
      return;
    case "vote.asked":
      mark(lane("votes", "Votes and generations"), "query", "info");
      return;
    case "vote.promised":
      mark(lane("votes", "Votes and generations"), "dot", "good");
      return;
    case "vote.refused":
      mark(lane("votes", "Votes and generations"), "cross", "warn");
      return;
    case "generation.opened": {
      const votes = lane("votes", "Votes and generations");
      votes.open(`g${event.generation}`, bar(`generation ${event.generation}, owner ${event.owner}`, "info", "solid"));
      return;
    }
    case "generation.closed": {
      const votes = lane("votes", "Votes and generations");
      if (!votes.close(`g${event.generation}`, index, at_ms)) mark(votes, "square", "neutral");
      return;
    }
    case "restore.started":
      lane("votes", "Votes and generations").open("restore", bar(`restore of tx ${event.n}`, "warn", "dotted"));
      return;
    case "restore.finished": {
      const votes = lane("votes", "Votes and generations");
      if (!votes.close("restore", index, at_ms)) mark(votes, "diamond", "good");
      return;
    }
    case "restore.verified":
      mark(lane("votes", "Votes and generations"), "ring", "good");
      return;
    case "violation":
      mark(lane("votes", "Votes and generations"), "cross", "bad");
      return;
    case "restore.running":
      mark(lane("votes", "Votes and generations"), "diamond", "good");
      return;
    case "takeover":
      mark(lane("votes", "Votes and generations"), "diamond", "warn");
      return;
    case "client.op": {
      const client = lane("client", "Client operations");
      const key = `${event.op}`;
      if (event.phase === "invoked") {
        client.open(key, bar(`${event.name} #${event.op}`, "warn", "hollow"));
        return;
      }
      const change = clientEnd(event.phase);
      if (!client.close(key, index, at_ms, change.bar) || event.phase !== "acknowledged")
        mark(client, change.shape, change.bar.tone);
      return;
    }
    case "check.result":
      mark(
        lane("check", "Checks"),
        event.verdict === true ? "ring" : event.verdict === false ? "cross" : "query",
        event.verdict === true ? "good" : event.verdict === false ? "bad" : "warn",
      );
      return;
    case "unread":
      mark(lane("run", "Run"), "query", "warn");
      return;
    default:
      mark(home(), "dot", "neutral");
  }
}

/** The lane an event belongs to by itself; transactions and votes have lanes of their own. */
function laneIdOf(event: ReportEvent): string {
  return event.lane;
}

function clientEnd(phase: "acknowledged" | "failed" | "unknown"): {
  bar: { tone: Tone; pattern: Pattern };
  shape: Shape;
} {
  switch (phase) {
    case "acknowledged":
      return { bar: { tone: "good", pattern: "solid" }, shape: "dot" };
    case "failed":
      return { bar: { tone: "bad", pattern: "hatched" }, shape: "cross" };
    case "unknown":
      return { bar: { tone: "warn", pattern: "dotted" }, shape: "query" };
  }
}

function toneOfStatus(status: string): Tone {
  if (status === "failed" || status === "cancelled") return "bad";
  if (status === "postcopy-paused") return "warn";
  return status === "completed" ? "good" : "info";
}

function toneOfQmp(event: string): Tone {
  if (event === "GUEST_PANICKED" || event === "BLOCK_IO_ERROR") return "bad";
  return event === "STOP" || event === "SHUTDOWN" ? "warn" : "info";
}

function linksOf(events: readonly ReportEvent[]): LinkName[] {
  const links = new Set<LinkName>();
  for (const event of events) {
    if (event.kind === "link.state") links.add(event.link);
    else if (event.lane.startsWith("link:")) links.add(event.lane.slice("link:".length) as LinkName);
  }
  return [...links].sort();
}

function capitalised(role: HostRole): string {
  return `${role.charAt(0).toUpperCase()}${role.slice(1)}`;
}
