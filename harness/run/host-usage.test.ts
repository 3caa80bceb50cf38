import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HostUsage } from "./host-usage.ts";

/** A line of /proc/<pid>/stat with what is read of it: parent, ticks in user and system mode, beginning. */
function stat(pid: number, name: string, parent: number, user: number, system: number, began = 100): string {
  const fields = [parent, 1, 1, 0, -1, 4_194_560, 500, 0, 0, 0, user, system, 7, 9, 20, 0, 4, 0, began, 99, 42];
  return `${pid} (${name}) S ${fields.join(" ")}`;
}

function dev(...interfaces: readonly (readonly [name: string, received: number, sent: number])[]): string {
  const heading =
    "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes";
  return [
    heading,
    ...interfaces.map(
      ([name, received, sent]) => `${name.padStart(6)}: ${received} 1 2 3 4 5 6 7 ${sent} 1 2 3 4 5 6 7`,
    ),
  ].join("\n");
}

const ROUTES = [
  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
  "eth0\t00000000\t010014AC\t0003\t0\t0\t0\t00000000\t0\t0\t0",
  "eth0\t000014AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
  "eth1\t000015AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
].join("\n");

function look(processes: readonly string[], sent = 0, received = 0): string {
  return [...processes, ROUTES, dev(["lo", 9_999, 9_999], ["eth0", 8_888, 8_888], ["eth1", received, sent])].join("\n");
}

describe("what a host uses", () => {
  it("is counted from the first look on: the agent with its helpers, QEMU apart, the fabric alone", () => {
    const usage = new HostUsage();
    const at = (ticks: number): readonly string[] => [
      stat(10, "sh", 1, 50, 50),
      stat(11, "MainThread", 10, 100 + ticks, 20),
      stat(12, "page) scan (x", 11, 5, ticks),
      stat(13, "qemu-system-x86", 11, 400 + 3 * ticks, 0),
      stat(14, "worker", 13, 7 * ticks, 0),
    ];
    const first = { agent_cpu_ms: 0, qemu_cpu_ms: 0, sent_bytes: 0, received_bytes: 0 };
    expect(usage.see(look(at(0), 5_000, 70), 11)).toEqual(first);
    expect(usage.see(look(at(4), 6_000, 90), 11)).toEqual({
      agent_cpu_ms: 80,
      qemu_cpu_ms: 120,
      sent_bytes: 1_000,
      received_bytes: 20,
    });
  });

  it("has no agent's time where there is no agent", () => {
    expect(new HostUsage().see(look([stat(3, "qemu-system-x86", 1, 1, 1)]), undefined)).not.toHaveProperty(
      "agent_cpu_ms",
    );
  });

  it("adds up over an agent's lives, also where a pid comes again, and a helper that outlives its agent", () => {
    const usage = new HostUsage();
    usage.see(look([stat(20, "node", 1, 10, 0)]), 20);
    usage.see(look([stat(20, "node", 1, 30, 0), stat(21, "pagescan", 20, 2, 0)]), 20);
    const seen = usage.see(look([stat(20, "node", 1, 7, 0, 900), stat(21, "pagescan", 1, 5, 0)]), 20);
    expect(seen.agent_cpu_ms).toBe(200 + 70 + 50);
    expect(usage.see(look([]), undefined).agent_cpu_ms).toBe(320);
  });

  it("adds up over an interface that was taken away and came back", () => {
    const usage = new HostUsage();
    usage.see(look([], 1_000), undefined);
    usage.see(look([], 1_500), undefined);
    expect(usage.see(look([], 200), undefined).sent_bytes).toBe(700);
  });

  it("never becomes less, and takes any text", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.string(),
            fc.nat(1e9).map((sent) => look([], sent)),
          ),
        ),
        (texts) => {
          const usage = new HostUsage();
          let before = 0;
          for (const text of texts) {
            const { sent_bytes } = usage.see(text, 1);
            expect(sent_bytes).toBeGreaterThanOrEqual(before);
            before = sent_bytes;
          }
        },
      ),
    );
  });
});
