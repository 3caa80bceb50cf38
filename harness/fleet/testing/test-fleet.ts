import { randomBytes } from "node:crypto";
import type Docker from "dockerode";
import type { TimelineEventBody } from "../../base/timeline.ts";
import { findEngine } from "../engine.ts";
import { type FleetSpec, type StartedFleet, startFleet } from "../fleet.ts";
import { ensureImages } from "../images.ts";

/** What the real tests of fleet and faults start from: an engine, the images, a run name nobody else has. */
export interface TestBed {
  readonly docker: Docker;
  readonly spec: (change?: Partial<FleetSpec>) => FleetSpec;
  readonly events: TimelineEventBody[];
}

export async function testBed(): Promise<TestBed> {
  const docker = await findEngine();
  if (!docker) throw new Error("no container engine answers");
  const images = await ensureImages(docker, { qemu: "10.0", say: () => undefined });
  const events: TimelineEventBody[] = [];
  return {
    docker,
    events,
    spec: (change = {}) => ({
      run: `test-${randomBytes(4).toString("hex")}`,
      host_image: images.host,
      toxiproxy_image: images.toxiproxy,
      shm_bytes: 64 * 1024 ** 2,
      devices: [],
      emit: (_lane, body) => events.push(body),
      ...change,
    }),
  };
}

export async function testFleet(bed: TestBed): Promise<StartedFleet> {
  return startFleet(bed.docker, bed.spec());
}
