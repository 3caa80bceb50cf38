import { describe, expect, it } from "vitest";
import { HOST_ROLES } from "../base/timeline.ts";
import { bulkAddress, linkAddress } from "./links.ts";
import { MANAGEMENT_PORTS, PORTS, TOXIPROXY_API_PORT } from "./ports.ts";

describe("ports", () => {
  const pairs = HOST_ROLES.flatMap((from) => HOST_ROLES.filter((to) => to !== from).map((to) => ({ from, to })));

  it("gives every ordered pair of hosts a port of its own", () => {
    const ports = pairs.flatMap(({ from, to }) => [linkAddress(from, to).port, bulkAddress(from, to).port]);
    expect(new Set(ports).size).toBe(pairs.length * 2);
  });

  it("keeps links, their control and the hosts' ports apart", () => {
    const ways = pairs.flatMap(({ from, to }) => [linkAddress(from, to).port, bulkAddress(from, to).port]);
    const ports = [...ways, TOXIPROXY_API_PORT];
    const all = [...ports, ...Object.values(PORTS)];
    expect(new Set(all).size).toBe(all.length);
    for (const port of all) expect(port > 0 && port < 65_536).toBe(true);
  });

  it("publishes no port by which hosts reach each other", () => {
    for (const port of [PORTS.link, PORTS.bulk, PORTS.way]) expect(MANAGEMENT_PORTS).not.toContain(port);
    expect(new Set(MANAGEMENT_PORTS).size).toBe(MANAGEMENT_PORTS.length);
  });
});
