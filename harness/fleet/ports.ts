/** Ports inside a host. Only the management ports are published, where published.ts says. */
export const PORTS = {
  /** Whoever receives on this host: QEMU's migration in a stock run, the agent under txsync. Reached over links only. */
  link: 7000,
  /** Agents' bulk data, so that it never stands in front of their words. Reached over the same links. */
  bulk: 7050,
  /** Whoever receives over a way of its own ({@link openWay}). */
  way: 7100,
  /** Whoever tells the connections of a split link apart ({@link splitLink}), and where in front of it Toxiproxy listens. */
  split: 7150,
  connection: 7200,
  /** Whoever exports the VM's disks, on the storage host. Reached over links. */
  storage: 7300,
  /** Where libvirt's daemon is reached by that of another host: its own port, and Toxiproxy's for a link or a way of its own. */
  libvirt: 16509,
  libvirt_link: 7400,
  libvirt_way: 7420,
  /** Of a way for a stream: libvirt has QEMU listen on the port that it is asked to connect to. */
  same: 7440,
  /** Monitors of QEMU: one for commands, one that carries nothing but out-of-band commands, one to watch. */
  qmp_control: 4444,
  qmp_oob: 4445,
  qmp_watch: 4446,
  /** The guest's second serial port: the ledger, or the Linux guest's commands. */
  com2: 4560,
  /** In a stock run: QEMU's end of the network card's cable. */
  card: 4565,
  /** The agent's control connection for whoever manages it. */
  agent: 4570,
  /** The cable's end of the world outside (outside.ts). */
  wall: 4580,
  /** Where the world outside takes connections to the guest (neighbour.ts). */
  dial: 4585,
} as const;

export const MANAGEMENT_PORTS: readonly number[] = [
  PORTS.qmp_control,
  PORTS.qmp_oob,
  PORTS.qmp_watch,
  PORTS.com2,
  PORTS.card,
  PORTS.agent,
];

/**
 * A host's name for its own address on the management network: what the harness talks to is bound to that one, so that
 * whoever is on the fabric finds nobody there (StartedHost.start writes it into the host's /etc/hosts).
 */
export const MANAGEMENT_NAME = "management";

export const TOXIPROXY_API_PORT = 8474;
