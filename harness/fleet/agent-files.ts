/** Where the txsync agent and its files are on a host. */
export const AGENT_FILES = {
  node: "/opt/ferryman/bin/node",
  program: "/opt/ferryman/agent/agent.mjs",
  pagescan: "/opt/ferryman/bin/pagescan",
  shim: "/opt/ferryman/bin/libferryman-uffd.so",
  /** Preloaded where files of the agent's are to fail, or its clocks to step (trouble.ts), and its orders. */
  trouble: "/opt/ferryman/bin/libferryman-trouble.so",
  orders: "/dev/shm/agent-trouble",
  config: "/run/ferryman/agent.json",
  /** While it is there, an agent that ended is not started again. */
  hold: "/run/ferryman/agent-hold",
  /** On disk, as far as a container has one. */
  state_folder: "/var/lib/ferryman",
  /** On the host's tmpfs. */
  memory_folder: "/dev/shm/ferryman",
} as const;
