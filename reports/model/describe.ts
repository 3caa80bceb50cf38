import type { ReportEvent } from "./event.ts";
import { formatBytes, formatCount, formatMs, plural } from "./format.ts";

/** One line for people that says what happened. Plain text: whoever shows it must escape it. */
export function describe(event: ReportEvent): string {
  switch (event.kind) {
    case "run.started":
      return `run of ${event.scenario} started, recovery ${event.recovery}, seed ${event.seed}`;
    case "run.phase":
      return `phase ${event.phase}`;
    case "run.settled":
      return `settled: ${event.how} (owner: ${event.owner})`;
    case "run.note":
      return event.text;
    case "run.waiting":
      return `waiting for ${event.what}; nothing has moved for ${formatMs(event.quiet_ms)}, the last was: ${event.moved}`;
    case "run.finished":
      return `verdict ${event.verdict}, ${event.as_expected ? "as expected" : "not as expected"}`;
    case "host.started":
      return `host started (${event.container})`;
    case "host.gone":
      return `host gone: ${event.how}`;
    case "qemu.started":
      return `QEMU ${event.version} started, pid ${event.pid}`;
    case "qemu.exited":
      return `QEMU exited ${event.code === null ? "by a signal" : `with code ${event.code}`}${lastLine(event.last_lines)}`;
    case "qemu.status":
      return `QEMU with pid ${event.pid} ${event.running ? "runs" : "stands still"} when it is first asked`;
    case "qmp.event":
      return `QMP ${event.event} ${compact(event.data)}`.trimEnd();
    case "qmp.answer":
      return `QMP ${event.command} ${event.answered ? `answered after ${formatMs(event.answer_ms)}` : `not answered within ${formatMs(event.answer_ms)}`}${event.error === undefined ? "" : `: ${event.error}`}`;
    case "manager.started":
      return `${event.what} started, pid ${event.pid}`;
    case "manager.exited":
      return `${event.what} ended ${event.code === null ? "with its host" : `with code ${event.code}`}${lastLine(event.last_lines)}`;
    case "manager.event":
      return `libvirt tells ${event.text}`;
    case "manager.state":
      return `to libvirt the VM is ${event.state}`;
    case "manager.asked":
      return `virsh ${event.command}: ${event.code === null ? "no answer" : `code ${event.code}`} after ${formatMs(event.took_ms)}${event.said === "" ? "" : `: ${event.said}`}`;
    case "migration.status":
      return `${event.side} reports ${event.status}`;
    case "migration.step":
      return `step ${event.step}`;
    case "migration.progress":
      return `${formatCount(event.pages_arrived)} of ${plural(event.pages_total, "page")} arrived, ${formatCount(event.pages_requested)} requested`;
    case "fault.injected":
      return `fault injected: ${faultName(event)}`;
    case "fault.healed":
      return `fault ${event.fault} healed`;
    case "fault.failed":
      return `fault ${event.fault} failed: ${event.error}`;
    case "link.state":
      return `link ${event.link} ${event.state}${event.direction === "both" ? "" : ` (${event.direction} only)`}${event.detail === "" ? "" : `: ${event.detail}`}`;
    case "client.op":
      return describeClientOp(event);
    case "guest.progress":
      return `guest on ${event.host}, vCPU ${event.cpu}: step ${formatCount(event.step)}`;
    case "guest.log":
      return event.line;
    case "tx.taken":
      return `transaction ${event.n} taken: ${plural(event.pages, "page")}, ${formatBytes(event.bytes)}, pause ${formatMs(event.still_ms ?? event.pause_ms)}`;
    case "tx.sending":
    case "tx.progress":
      return `record of transaction ${event.n}: ${plural(event.pages_sent, "page")} on their way`;
    case "tx.stored":
      return `transaction ${event.n} stored, ${formatBytes(event.bytes)}`;
    case "tx.committed":
      return `transaction ${event.n} committed after ${formatMs(event.latency_ms)}`;
    case "gate.released":
      return `output of transaction ${event.n} let out: ${formatBytes(event.bytes)}, waited ${formatMs(event.waited_ms)}`;
    case "gate.full":
      return `${formatBytes(event.bytes)} of output wait: the VM stands still`;
    case "gate.room":
      return `the VM, which stood still for its output, runs again after ${formatMs(event.stood_ms)}: ${formatBytes(event.bytes)} wait, ${formatBytes(event.most_bytes)} at most did`;
    case "lease.lost":
      return `lease of ${event.peer} lost, silent for ${formatMs(event.silent_ms)}`;
    case "lease.regained":
      return `lease of ${event.peer} regained`;
    case "vote.asked":
      return `asks for generation ${event.generation}`;
    case "vote.promised":
      return `promises generation ${event.generation} to ${event.to}`;
    case "vote.refused":
      return `refuses generation ${event.generation} to ${event.to}: ${event.why}`;
    case "vote.message":
      return `sends ${event.to} ${event.pre ? "(only asking) " : ""}${event.message} for generation ${event.generation}, ${event.mode}`;
    case "generation.opened":
      return `generation ${event.generation} opened, owner ${event.owner}`;
    case "generation.closed":
      return `generation ${event.generation} closed`;
    case "restore.started":
      return `restore of transaction ${event.n} started`;
    case "restore.made":
      return `the memory of transaction ${event.n} is there, QEMU gets its device state`;
    case "restore.finished":
      return `restored transaction ${event.n}, ${plural(event.pages, "page")}, in ${formatMs(event.restore_ms)}`;
    case "restore.verified":
      return `the restored RAM is that of transaction ${event.n}: ${plural(event.pages, "page")}, digest ${event.digest}`;
    case "restore.running":
      return `the restored VM of generation ${event.generation} runs`;
    case "pages.route":
      return `pages now come by way of: ${event.route}`;
    case "takeover.served":
      return `the first pages of ${event.server} have come`;
    case "takeover":
      return `${event.server} takes over the page service, ${plural(event.pages_left, "page")} left`;
    case "handoff":
      return `handoff at transaction ${event.n}: the target owns the VM alone`;
    case "protection":
      return `protection ${event.state}: ${event.why}`;
    case "base.covered":
      return "escrow and owner together have all of the base: the host that serves it may be lost from now on";
    case "violation":
      return `violation: ${event.why}`;
    case "agent.vitals":
      return `agent: event loop late by ${formatMs(event.control_late_p99_ms)} (p99), ${formatMs(event.control_late_max_ms)} at worst, ${formatCount(Math.round(event.rss_mib))} MiB`;
    case "host.usage":
      return `used so far: ${event.agent_cpu_ms === undefined ? "" : `agent ${formatMs(event.agent_cpu_ms)}, `}QEMU ${formatMs(event.qemu_cpu_ms)} of a processor, ${formatBytes(event.sent_bytes)} sent, ${formatBytes(event.received_bytes)} received`;
    case "check.result":
      return `check ${event.check}: ${verdictWord(event.verdict)}. ${event.summary}`;
    case "log":
    case "file.line":
      return event.line;
    case "unread":
      return `${event.claimed === "" ? "unreadable line" : `event ${event.claimed}, not known to this report`}: ${event.raw}`;
  }
}

/** A few characters for a mark on a lane. */
export function shortLabel(event: ReportEvent): string {
  switch (event.kind) {
    case "run.settled":
      return "settled";
    case "run.note":
      return "note";
    case "run.waiting":
      return "waiting";
    case "run.finished":
      return event.verdict;
    case "host.started":
      return "host up";
    case "host.gone":
      return "host gone";
    case "qemu.started":
      return "QEMU up";
    case "qemu.exited":
      return "QEMU exit";
    case "qmp.event":
      return event.event;
    case "qmp.answer":
      return `${event.command}${event.answered ? "" : " hangs"}`;
    case "pages.route":
      return event.route;
    case "manager.started":
    case "manager.exited":
      return event.kind === "manager.started" ? "libvirt up" : "libvirt exit";
    case "manager.event":
      return event.text.slice(0, 24);
    case "manager.state":
      return event.state;
    case "manager.asked":
      return `virsh ${event.command.split(" ")[0] ?? ""}`;
    case "migration.status":
      return `${event.side}: ${event.status}`;
    case "fault.failed":
      return "fault failed";
    case "tx.taken":
      return `tx ${event.n}`;
    case "tx.stored":
      return "stored";
    case "tx.committed":
      return "committed";
    case "gate.released":
      return "let out";
    case "gate.full":
      return "stands still";
    case "gate.room":
      return "runs again";
    case "lease.lost":
      return `${event.peer} silent`;
    case "lease.regained":
      return `${event.peer} heard`;
    case "vote.asked":
      return `asks g${event.generation}`;
    case "vote.promised":
      return `promise g${event.generation}`;
    case "vote.refused":
      return `refusal g${event.generation}`;
    case "generation.opened":
      return `g${event.generation} → ${event.owner}`;
    case "generation.closed":
      return `g${event.generation} closed`;
    case "takeover":
      return "takeover";
    case "handoff":
      return "handoff";
    case "protection":
      return `protection ${event.state}`;
    case "base.covered":
      return "base covered";
    case "restore.verified":
      return "digest right";
    case "violation":
      return "violation";
    case "check.result":
      return event.check;
    case "client.op":
      return `${event.name} ${event.phase}`;
    case "unread":
      return event.claimed;
    default:
      return "";
  }
}

/** A fault with what it hit; its kind is not said twice where the description begins with it. */
export function faultName({ fault, what }: { readonly fault: string; readonly what: string }): string {
  return what === "" || what.startsWith(fault) ? what || fault : `${fault}: ${what}`;
}

/** How a three-valued check reads. */
export function verdictWord(verdict: boolean | "unknown"): string {
  if (verdict === "unknown") return "unknown";
  return verdict ? "holds" : "fails";
}

function describeClientOp(event: Extract<ReportEvent, { kind: "client.op" }>): string {
  const value = event.value === undefined ? "" : ` value ${event.value}`;
  const index = event.index === undefined ? "" : ` at index ${event.index}`;
  const error = event.error === undefined ? "" : `: ${event.error}`;
  return `client ${event.name} #${event.op}${value}${index} ${event.phase}${event.host === "none" ? "" : ` (${event.host})`}${error}`;
}

function lastLine(lines: readonly string[]): string {
  const last = lines.at(-1);
  return last === undefined ? "" : `: ${last}`;
}

function compact(data: unknown): string {
  if (data === null || data === undefined) return "";
  const text = JSON.stringify(data);
  if (text === "{}") return "";
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
