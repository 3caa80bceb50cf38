import type { Scenario } from "../../harness/run/scenario.ts";
import { cutOffAt, fourVcpusWait } from "./four-vcpus-wait.ts";

export const oneOfFourVcpusWaits: Scenario = {
  ...fourVcpusWait,
  id: "one-of-four-vcpus-waits",
  title: "one of four vCPUs waits for a page that nobody can bring, and whoever stops the VM waits for that one",
  // Its vCPUs have regions of their own, and what comes last is the last one's.
  guests: ["integrity"],
  faults: cutOffAt(85),
};
