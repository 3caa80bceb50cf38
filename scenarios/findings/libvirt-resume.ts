import { PURE_POSTCOPY, type Scenario } from "../../harness/run/scenario.ts";

/** Debian 13's libvirt: src/qemu/qemu_migration.c, qemuMigrationDstPrepareResume hands on no file descriptor, and one is read. */
export const libvirtResume: Scenario = {
  id: "libvirt-resume",
  group: "findings",
  title: "the link is reset and is back after a second, and an operator resumes the migration by virsh",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-reset", link: "source-target" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 1_000 },
    },
  ],
  configuration: { manager: "libvirt:resume" },
  expect: { stock: "intact", txsync: "intact" },
  expect_on: [
    {
      under: "stock",
      managers: ["libvirt:resume"],
      from: "10.0",
      verdict: "lost",
      why: "libvirt 11.3.0 (Debian 13) loses the target's daemon to SIGSEGV at --postcopy-resume, every time; 9.0.0 (Debian 12, with QEMU 7.2) resumes",
    },
    {
      under: "stock",
      managers: ["none", "libvirt"],
      verdict: "lost",
      why: "a paused post-copy is left as it is: nobody resumes it",
    },
  ],
};
