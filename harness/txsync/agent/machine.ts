import * as z from "zod";

const endpoint = z.strictObject({ host: z.string(), port: z.int() });

/** The VM, as whoever manages the agents describes it: the same on every host. */
export const machineSchema = z.strictObject({
  name: z.string(),
  accel: z.enum(["tcg", "kvm"]),
  machine: z.string(),
  /** As `-cpu` takes it; absent: CPU_MODEL of harness/qemu/command-line.ts. */
  cpu: z.exactOptional(z.string()),
  memory_bytes: z.int().min(1 << 20),
  smp: z.int().min(1),
  /** What it boots; absent: what its firmware finds on its disks. */
  kernel: z.exactOptional(z.string()),
  initrd: z.exactOptional(z.string()),
  append: z.exactOptional(z.string()),
  /** A file on the host that it is to boot on, with the state of the VM as it had booted: it goes on from there. */
  state: z.exactOptional(z.string()),
  /** Its network card; absent: it has none. */
  card: z.exactOptional(z.strictObject({ model: z.string(), mac: z.string() })),
  /** Monitors beside the agent's own, for whoever manages the host. */
  monitors: z.array(endpoint),
  extra: z.array(z.string()),
  /** For an audit: the VM that arrives is not started, and the one that left is kept as it was, so that both can be compared. */
  hold: z.boolean(),
});
export type Machine = z.infer<typeof machineSchema>;
