import type { Configuration } from "../../base/configuration.ts";

/** Locally administered; one VM is in a run. */
const MAC = "52:54:00:77:00:02";

/** Debian's cloud kernel has no driver for e1000e. */
const MODELS = { virtio: "virtio-net-pci" } as const;

/** The VM's network card, as QEMU is asked for it. */
export function cardOf({ net }: Configuration): { readonly card?: { readonly model: string; readonly mac: string } } {
  return net === undefined ? {} : { card: { model: MODELS[net], mac: MAC } };
}
