import * as z from "zod";
import { HOST_ROLES } from "./timeline.ts";

/**
 * What the events have in them that agents say and reports read, by kind: once, so that what the harness lets onto the
 * timeline is what a reader of it expects. Who may say which, and what a reader tolerates besides, they know themselves.
 * Times are milliseconds.
 */

const count = z.number().nonnegative();
const host = z.enum(HOST_ROLES);
const transaction = { generation: count, n: count };

export const AGENT_EVENT_FIELDS = {
  "agent.vitals": { control_late_p99_ms: count, control_late_max_ms: count, rss_mib: count },
  violation: { why: z.string() },
  "lease.lost": { peer: host, silent_ms: count },
  "lease.regained": { peer: host },
  "vote.asked": { generation: count },
  "vote.promised": { generation: count, to: host },
  "vote.refused": { generation: count, to: host, why: z.string() },
  "vote.message": {
    message: z.enum(["ask", "promise", "refuse"]),
    pre: z.boolean(),
    generation: count,
    mode: z.string(),
    to: host,
  },
  "generation.opened": { generation: count, owner: host },
  "generation.closed": { generation: count },
  "base.covered": {},
  protection: { state: z.enum(["on", "off"]), why: z.string() },
  "qemu.exited": { code: z.number().nullable(), last_lines: z.array(z.string()) },
  "tx.taken": {
    ...transaction,
    pages: count,
    bytes: count,
    stop_ms: count,
    device_ms: count,
    find_ms: count,
    copy_ms: count,
    pause_ms: count,
    still_ms: z.exactOptional(count),
    held_ms: z.exactOptional(count),
    cont_ms: z.exactOptional(count),
  },
  "tx.sending": { ...transaction, pages_sent: count },
  "tx.progress": { ...transaction, pages_sent: count },
  "tx.stored": { ...transaction, bytes: count },
  "tx.committed": { ...transaction, latency_ms: count },
  "gate.released": { ...transaction, bytes: count, waited_ms: count },
  "gate.full": { generation: count, bytes: count },
  "gate.room": { generation: count, bytes: count, most_bytes: count, stood_ms: count },
  "restore.started": transaction,
  "restore.made": transaction,
  "restore.verified": { ...transaction, pages: count, digest: z.string() },
  "restore.finished": { ...transaction, pages: count, restore_ms: count },
  "restore.running": { generation: count },
  handoff: transaction,
  "pages.route": { route: z.string() },
  takeover: { server: host, pages_left: count },
  "takeover.served": { server: host },
  "migration.progress": {
    transferred_bytes: count,
    remaining_bytes: count,
    total_bytes: count,
    pages_arrived: count,
    pages_total: count,
    pages_requested: count,
  },
} as const;
