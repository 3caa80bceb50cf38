import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** The same without anything that breaks: the target lacks a device that the source has. */
export const targetRefusesState: Scenario = {
  id: "target-refuses-state",
  group: "findings",
  title: "the target cannot load the device state, for it lacks a device; nothing else is wrong",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [],
  configuration: { source_qemu_args: ["-device", "virtio-rng-pci"] },
  expect: { stock: "lost", txsync: "intact" },
  expect_on: [
    {
      under: "stock",
      from: "11.0",
      verdict: "intact",
      why: "since 10.2 a source whose target fails before it runs goes on by itself",
    },
  ],
};
