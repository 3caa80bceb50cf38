import type Docker from "dockerode";
import { messageOf, UserError } from "../base/errors.ts";
import { type Emit, HOST_ROLES, type HostRole, type LinkName, STORAGE } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import { removeContainer, type SeenFile, startContainer } from "./container.ts";
import { connectTo, StartedHost } from "./host.ts";
import { type LibvirtWay, openLibvirtLink, openLibvirtWay } from "./libvirt-links.ts";
import { LINKS_ALIAS, type Link, openLinks, openStorageLinks, openWay, type Way } from "./links.ts";
import { createNetworks } from "./networks.ts";
import { Outside } from "./outside.ts";
import { keptBy, ownerOf } from "./owner.ts";
import { TOXIPROXY_API_PORT } from "./ports.ts";
import { publishedUrl } from "./published-port.ts";
import { LIBVIRT_HOST_RIGHTS, LINKS_RIGHTS } from "./rights.ts";
import { splitLink } from "./split.ts";

export interface FleetSpec {
  /** Names the run; part of every container's and network's name. */
  readonly run: string;
  readonly host_image: string;
  /** Images of hosts that have another one. */
  readonly host_images?: Readonly<Partial<Record<HostRole, string>>>;
  readonly toxiproxy_image: string;
  /** A fourth host, for the VM's disks. */
  readonly storage?: {
    readonly image: string;
    readonly shm_bytes: number;
    /** Files of this machine that it sees. */
    readonly read_only?: readonly SeenFile[];
  };
  /** Files of this machine that the source sees. */
  readonly source_files?: readonly SeenFile[];
  /** Room on each host's /dev/shm. */
  readonly shm_bytes: number;
  readonly devices: readonly string[];
  /** Hosts have libvirt, and there is a link for it. */
  readonly libvirt?: boolean;
  /** Whether there is a world outside that the VM's network card reaches. */
  readonly outside?: boolean;
  /** Stays after the process that made it is gone, and is no leftover then. */
  readonly kept?: boolean;
  readonly emit: Emit;
}

/** Three hosts, their networks and the links between them. Disposing of it takes everything away. */
export interface StartedFleet extends AsyncDisposable {
  readonly host: (role: HostRole) => StartedHost;
  /** The host that exports disks, where there is one. */
  readonly storage: StartedHost<typeof STORAGE> | undefined;
  readonly link: (name: LinkName) => Link;
  readonly outside: Outside | undefined;
  /** Between two hosts, beside their link; once for each pair. */
  readonly openWay: (from: HostRole, to: HostRole) => Promise<Way>;
  /** The same for libvirt: for its daemons, and for the stream. */
  readonly openLibvirtWay: (from: HostRole, to: HostRole) => Promise<LibvirtWay>;
  /** From now on the connections of a link can be told apart; does nothing the second time. */
  readonly splitLink: (name: LinkName) => Promise<void>;
}

const LINKS_HOSTNAME = "ferryman-links";
const ANSWER_MS = 2_000;

/** Starts the fleet of a run. Whatever was started is taken away again when any part of it fails. */
export async function startFleet(docker: Docker, spec: FleetSpec): Promise<StartedFleet> {
  await using stack = new AsyncDisposableStack();
  const self = ownerOf(process.pid) ?? String(process.pid);
  const owner = spec.kept ? keptBy(self) : self;
  const networks = await createNetworks(docker, spec.run, owner);
  stack.use(networks);
  // Containers go all at once: one after the other would take four times as long. Their networks go after them.
  const removals: (() => Promise<void>)[] = [];
  stack.defer(async () => {
    await Promise.all(removals.map((remove) => remove()));
  });
  const hosts = new Map<HostRole, StartedHost>();
  let links: readonly Link[] = [];
  let toxiproxy_url = "";
  let outside: Outside | undefined;
  let storage: StartedHost<typeof STORAGE> | undefined;
  const starting = [
    (async () => {
      if (spec.storage === undefined) return;
      const started = await StartedHost.start(docker, {
        role: STORAGE,
        run: spec.run,
        owner,
        image: spec.storage.image,
        management: networks.management,
        fabric: networks.fabric,
        shm_bytes: spec.storage.shm_bytes,
        ...(spec.storage.read_only === undefined ? {} : { read_only: spec.storage.read_only }),
        devices: [],
        emit: spec.emit,
      });
      removals.push(() => started[Symbol.asyncDispose]());
      storage = started;
    })(),
    ...HOST_ROLES.map(async (role) => {
      const started = await StartedHost.start(docker, {
        role,
        run: spec.run,
        owner,
        image: spec.host_images?.[role] ?? spec.host_image,
        management: networks.management,
        fabric: networks.fabric,
        shm_bytes: spec.shm_bytes,
        devices: spec.devices,
        ...(role === "source" && spec.source_files !== undefined ? { read_only: spec.source_files } : {}),
        ...(spec.libvirt === true ? { rights: LIBVIRT_HOST_RIGHTS } : {}),
        emit: spec.emit,
      });
      removals.push(() => started[Symbol.asyncDispose]());
      hosts.set(role, started);
    }),
    (async () => {
      if (spec.outside !== true) return;
      const { run, host_image: image } = spec;
      outside = await Outside.start(docker, { run, owner, image, management: networks.management });
      removals.push(async () => await outside?.[Symbol.asyncDispose]());
    })(),
    (async () => {
      const started = await startContainer({
        image: spec.toxiproxy_image,
        name: `ferryman-${spec.run}-links`,
        run: spec.run,
        owner,
        network: networks.management,
        ports: [TOXIPROXY_API_PORT],
        // Its API is for the harness alone: this name is its address on the management network, the only one that it has
        // when it starts (its own default would be the loopback address, where no published port leads).
        hostname: LINKS_HOSTNAME,
        command: [`-host=${LINKS_HOSTNAME}`],
        rights: LINKS_RIGHTS,
        ready: /Starting Toxiproxy|Starting HTTP server|Listening on/i,
      });
      removals.push(() => removeContainer(docker.getContainer(started.getId())));
      await connectTo(docker, networks.fabric, started.getId(), LINKS_ALIAS);
      const { url, close } = await publishedUrl(started.getMappedPort(TOXIPROXY_API_PORT));
      removals.push(async () => close());
      await waitFor({ what: "Toxiproxy to answer", timeout_ms: 10_000 }, () =>
        fetch(`${url}/version`, { signal: AbortSignal.timeout(ANSWER_MS) }).then(
          (answer) => (answer.ok ? true : undefined),
          () => undefined,
        ),
      );
      toxiproxy_url = url;
      const between = await openLinks(url, spec.emit);
      const stream = between.find(({ name }) => name === "source-target");
      links = [
        ...between,
        ...(spec.storage === undefined ? [] : await openStorageLinks(url, spec.emit)),
        ...(spec.libvirt === true && stream !== undefined ? [await openLibvirtLink(url, stream, spec.emit)] : []),
      ];
    })(),
  ];
  const failed = (await Promise.allSettled(starting)).find((result) => result.status === "rejected");
  if (failed) throw new UserError(`the hosts of run ${spec.run} did not start: ${messageOf(failed.reason)}`);
  const kept = stack.move();
  const link = (name: LinkName): Link =>
    found(
      links.find((each) => each.name === name),
      name,
    );
  return {
    host: (role) => found(hosts.get(role), role),
    storage,
    openWay: async (from, to) => openWay(toxiproxy_url, from, to, await found(hosts.get(to), to).fabricAddress()),
    openLibvirtWay: (from, to) => openLibvirtWay(toxiproxy_url, from, to),
    link,
    outside,
    splitLink: async (name) => {
      const whole = link(name);
      const host = HOST_ROLES.find((role) => role === whole.ends[1]);
      if (host === undefined) throw new UserError(`the connections of link ${name} cannot be told apart`);
      await splitLink(toxiproxy_url, whole, found(hosts.get(host), name), spec.emit);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function found<T>(thing: T | undefined, name: string): T {
  if (thing === undefined) throw new UserError(`there is no "${name}" in this fleet`);
  return thing;
}
