/** Reads what {@link HostUsage} wants to see, in a host's shell. A process that ends meanwhile is no error. */
export const LOOK = "cat /proc/[0-9]*/stat /proc/net/route /proc/net/dev 2>/dev/null; true";

/** Processor times in /proc/<pid>/stat are in hundredths of a second on every Linux that this runs on (USER_HZ). */
const TICK_MS = 10;

/** What a host has used since it was looked at first. */
export interface Usage {
  /** The agent and what it started, except QEMU; of all its lives. Absent where there was no agent. */
  readonly agent_cpu_ms?: number;
  readonly qemu_cpu_ms: number;
  /** On the fabric, everything included that Ethernet carries (IP, TCP, acknowledgements). */
  readonly sent_bytes: number;
  readonly received_bytes: number;
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  /** Processor time of all its threads. */
  readonly cpu_ms: number;
  /** Tells it from a later one with the same pid. */
  readonly key: string;
}

/** A counter that may begin anew (another process, another network interface): what it grew by, in all. */
class Growth {
  #last: number | undefined;
  grown = 0;

  /** @param born whether what it counts began after the first look, so that all of it counts */
  see(value: number, born: boolean): void {
    const from = this.#last === undefined ? (born ? 0 : value) : this.#last;
    this.grown += value >= from ? value - from : value;
    this.#last = value;
  }
}

/** Makes of looks at a host's /proc what was used between the first and the last. */
export class HostUsage {
  readonly #agent = new Map<string, Growth>();
  readonly #qemu = new Map<string, Growth>();
  readonly #sent = new Map<string, Growth>();
  readonly #received = new Map<string, Growth>();
  #had_agent = false;
  #looked = false;

  /**
   * @param text what {@link LOOK} printed
   * @param agent_pid the agent's pid inside the host, if it has one now
   */
  see(text: string, agent_pid: number | undefined): Usage {
    const processes = processesIn(text);
    const ofAgent = agent_pid === undefined ? new Set<number>() : familyOf(agent_pid, processes);
    if (agent_pid !== undefined) this.#had_agent = true;
    for (const process of processes) {
      // A helper outlives its agent: then it is nobody's child.
      if (ofAgent.has(process.pid) || process.name === "pagescan") this.#grow(this.#agent, process.key, process.cpu_ms);
      else if (isQemu(process)) this.#grow(this.#qemu, process.key, process.cpu_ms);
    }
    for (const { name, received_bytes, sent_bytes } of fabricIn(text)) {
      this.#grow(this.#sent, name, sent_bytes);
      this.#grow(this.#received, name, received_bytes);
    }
    this.#looked = true;
    return {
      ...(this.#had_agent ? { agent_cpu_ms: sum(this.#agent) } : {}),
      qemu_cpu_ms: sum(this.#qemu),
      sent_bytes: sum(this.#sent),
      received_bytes: sum(this.#received),
    };
  }

  #grow(what: Map<string, Growth>, key: string, value: number): void {
    const growth = what.get(key) ?? new Growth();
    what.set(key, growth);
    growth.see(value, this.#looked);
  }
}

function sum(growths: ReadonlyMap<string, Growth>): number {
  return [...growths.values()].reduce((total, { grown }) => total + grown, 0);
}

function isQemu({ name }: Process): boolean {
  return name.startsWith("qemu-system");
}

/** Lines of /proc/<pid>/stat (proc_pid_stat(5)): the name may hold anything, so the last parenthesis ends it. */
export function processesIn(text: string): readonly Process[] {
  return text.split("\n").flatMap((line) => {
    const found = /^(\d+) \((.*)\) [A-Za-z] (.*)$/.exec(line);
    if (found === null) return [];
    const [, pid, name = "", rest = ""] = found;
    // From field 4 on: 4 parent, 14 and 15 processor time in user and system mode, 22 when it began.
    const fields = rest.split(" ");
    const cpu_ms = (Number(fields[10]) + Number(fields[11])) * TICK_MS;
    if (!Number.isFinite(cpu_ms)) return [];
    return [{ pid: Number(pid), parent: Number(fields[0]), name, cpu_ms, key: `${pid} ${fields[18] ?? ""}` }];
  });
}

/** A process and all that come from it, QEMUs and theirs left out. */
function familyOf(pid: number, processes: readonly Process[]): ReadonlySet<number> {
  const family = new Set([pid]);
  for (let before = 0; before < family.size; ) {
    before = family.size;
    for (const process of processes) if (family.has(process.parent) && !isQemu(process)) family.add(process.pid);
  }
  return family;
}

interface Interface {
  readonly name: string;
  readonly received_bytes: number;
  readonly sent_bytes: number;
}

/** Lines of /proc/net/dev; the fabric has no way out, so the interface of the default route is not on it. */
function fabricIn(text: string): readonly Interface[] {
  const lines = text.split("\n");
  const outward = new Set(lines.flatMap((line) => /^(\S+)\t00000000\t/.exec(line)?.[1] ?? []));
  return lines.flatMap((line) => {
    const found = /^\s*([^\s:]+):\s*(\d+)(?:\s+\d+){7}\s+(\d+)(?:\s+\d+){7}\s*$/.exec(line);
    const name = found?.[1];
    if (found === null || name === undefined || name === "lo" || outward.has(name)) return [];
    return [{ name, received_bytes: Number(found[2]), sent_bytes: Number(found[3]) }];
  });
}
