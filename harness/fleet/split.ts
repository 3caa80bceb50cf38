import { Toxiproxy } from "toxiproxy-node-client";
import { UserError } from "../base/errors.ts";
import { type Emit, STORAGE } from "../base/timeline.ts";
import { within } from "../base/wait.ts";
import { AGENT_FILES } from "./agent-files.ts";
import type { StartedHost } from "./host.ts";
import { LINKS_ALIAS, Link, makeProxy, pairNumber } from "./links.ts";
import { PORTS } from "./ports.ts";

/** So many connections of a link can be told apart: QEMU opens one, two with postcopy-preempt, some more with multifd. */
export const CONNECTIONS_TOLD_APART = 4;

const READY = "split-ready";
const UP_MS = 10_000;

/**
 * Runs on the host to which connections come, under its own Node: leads the n-th one to the n-th of the addresses it is
 * given, those beyond to the last. Ends and errors of one side are handed on to the other.
 */
const PROGRAM = `
const net = require("node:net");
const [port, host, ...ports] = process.argv.slice(1);
let count = 0;
net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = net.connect({ host, port: Number(ports[Math.min(count++, ports.length - 1)]), allowHalfOpen: true, noDelay: true });
  for (const [from, to] of [[near, far], [far, near]]) {
    from.pipe(to);
    from.on("error", () => to.resetAndDestroy());
    from.on("close", () => { if (!from.readableEnded) to.destroy(); });
  }
}).listen(Number(port), "0.0.0.0", () => console.log("${READY}"));
`;

/**
 * Toxiproxy does the same to every connection of a proxy (toxics/toxic.go). So that one connection can be hit, those that
 * the first end of the link opens to QEMU's port go from the link's proxy to a small program on the other end, and from
 * there each through a proxy of its own:
 *
 *     first end -> link's proxy -> program on the second end -> proxy of connection n -> the second end's port
 *
 * What is done to the link as a whole is done to all of them, in front. Connections that are open now end.
 */
export async function splitLink(toxiproxy_url: string, link: Link, host: StartedHost, emit: Emit): Promise<void> {
  if (link.split) return;
  const [from, to] = link.ends;
  if (to === STORAGE) throw new UserError(`the connections of link ${link.name} cannot be told apart`);
  const pair = pairNumber(from, to);
  const toxiproxy = new Toxiproxy(toxiproxy_url);
  const first = PORTS.connection + pair * (CONNECTIONS_TOLD_APART + 1);
  const ports = Array.from({ length: CONNECTIONS_TOLD_APART + 1 }, (_, n) => first + n);
  const connections = await Promise.all(
    ports.map(async (port, n) => {
      const name = `${from}-to-${to}-connection-${n + 1}`;
      const proxy = await makeProxy(toxiproxy, { name, port, upstream: `${to}:${PORTS.link}` });
      return new Link(link.ends, [{ proxy, forward: "upstream" }], emit, `connection ${n + 1}: `);
    }),
  );
  const listen = PORTS.split + pair;
  const argv = [AGENT_FILES.node, "-e", PROGRAM, String(listen), LINKS_ALIAS, ...ports.map(String)];
  const program = await host.spawn(argv);
  const up = new Promise<void>((resolve) => program.onLine((line) => line === READY && resolve()));
  const ended = program.exited.then((code) => Promise.reject(new Error(`it ended with code ${code}`)));
  ended.catch(() => undefined);
  await within(
    {
      what: `what tells the connections of link ${link.name} apart`,
      timeout_ms: UP_MS,
      lastLines: () => program.lastLines(),
    },
    Promise.race([up, ended]),
  );
  await link.leadOver(`${to}:${listen}`, connections.slice(0, CONNECTIONS_TOLD_APART));
}
