import type Docker from "dockerode";
import { PAGE_BYTES } from "../base/page.ts";
import { type FleetHost, HOST_ROLES, type HostRole, STORAGE, type TimelineEvent } from "../base/timeline.ts";
import { HostShell } from "../fleet/shell.ts";
import { RAM_PATH } from "../fleet/vm.ts";
import { decodeStatusPage, STATUS_ADDRESS, type StatusPage } from "../guests/integrity/status-page.ts";

const FLEET_HOSTS: readonly FleetHost[] = [...HOST_ROLES, STORAGE];

/** What a saboteur does to a run that has gone well so far. */
export type Deed<T> = (at: Saboteur) => Promise<T>;

/**
 * For tests that show that the checks bite: damages a real run from outside, by way of its hosts' containers, as soon
 * as its timeline tells of a certain event, such as that it has settled. The harness knows nothing of it.
 */
export class Saboteur {
  readonly #docker: Docker;
  readonly #shells = new Map<FleetHost, Promise<HostShell>>();
  readonly #pids = new Map<FleetHost, number>();

  constructor(docker: Docker) {
    this.#docker = docker;
  }

  /** Follows a run's events; hand `onEvent` to the run, and await `done` after it. */
  follow<T>(
    deed: Deed<T>,
    when: (event: TimelineEvent) => boolean,
  ): { readonly onEvent: (event: TimelineEvent) => void; readonly done: () => Promise<T> } {
    let work: Promise<T> | undefined;
    return {
      onEvent: (event) => {
        const role = FLEET_HOSTS.find((name) => name === event.lane);
        if (event.kind === "host.started" && role !== undefined) {
          const opened = HostShell.open(this.#docker, this.#docker.getContainer(event.container), role);
          opened.catch(() => undefined);
          this.#shells.set(role, opened);
        }
        if (event.kind === "qemu.started" && role !== undefined) this.#pids.set(role, event.pid);
        if (when(event) && work === undefined) {
          work = deed(this);
          work.catch(() => undefined);
        }
      },
      done: async () => {
        for (const shell of this.#shells.values()) (await shell)[Symbol.dispose]();
        if (work === undefined) throw new Error("the event never came, so nothing was damaged");
        return work;
      },
    };
  }

  async run(role: FleetHost, command: string): Promise<string> {
    const shell = this.#shells.get(role);
    if (shell === undefined) throw new Error(`the run has no host ${role}`);
    return (await shell).run(command);
  }

  /** Pid of QEMU inside its host. */
  pid(role: HostRole): number {
    const pid = this.#pids.get(role);
    if (pid === undefined) throw new Error(`no QEMU was started on ${role}`);
    return pid;
  }

  async read(role: FleetHost, file: string, at: number | bigint, bytes: number): Promise<Buffer> {
    const text = await this.run(
      role,
      `dd if=${file} bs=${bytes} count=1 skip=${at} iflag=skip_bytes,fullblock status=none | base64 -w0`,
    );
    return Buffer.from(text.trim(), "base64");
  }

  async write(role: FleetHost, file: string, at: number | bigint, bytes: Buffer): Promise<void> {
    await this.run(
      role,
      `echo ${bytes.toString("base64")} | base64 -d | dd of=${file} bs=${bytes.length} seek=${at} oflag=seek_bytes conv=notrunc status=none`,
    );
  }

  /** Changes one bit of one byte. */
  async flip(role: FleetHost, file: string, at: number | bigint): Promise<void> {
    const [byte = 0] = await this.read(role, file, at, 1);
    await this.write(role, file, at, Buffer.from([byte ^ 1]));
  }

  /** The status page of the integrity guest's instance on a host. */
  async status(role: HostRole): Promise<StatusPage> {
    return decodeStatusPage(await this.read(role, RAM_PATH, STATUS_ADDRESS, PAGE_BYTES));
  }
}
