import type { Configuration, Net } from "../../base/configuration.ts";

/** Locally administered; one VM is in a run. */
const MAC = "52:54:00:77:00:02";

const MODELS: Readonly<Record<Net, string>> = { virtio: "virtio-net-pci", e1000e: "e1000e" };

/** The VM's network card, as QEMU is asked for it. */
export function cardOf({ net }: Configuration): { readonly card?: { readonly model: string; readonly mac: string } } {
  return net === undefined ? {} : { card: { model: MODELS[net], mac: MAC } };
}
