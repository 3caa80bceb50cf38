import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FIXTURES } from "./images/paths.ts";

/** What the processes of a container may do. */
export interface ContainerRights {
  readonly capabilities_dropped: readonly string[];
  readonly capabilities_added: readonly string[];
  /** As the engine takes them: `seccomp=<profile>`. */
  readonly security_options: readonly string[];
}

/**
 * A host needs more than a container has: userfaultfd, which the engine's default seccomp profile closes, and
 * which a kernel with vm.unprivileged_userfaultfd=0 gives to CAP_SYS_PTRACE only (with it the agent's helper takes QEMU's
 * descriptor, pidfd_getfd(2)). And CAP_SYS_NICE, so that the one thread that leases hang on goes before the vCPUs of its
 * host, and of the others that share the machine (a budget by sched_setattr(2)). Every other capability is dropped.
 *
 * fixtures/images/host.seccomp.json is a list of the system calls that are allowed, along the lines of the engine's own
 * profile: everything else fails with EPERM, as do mount, unshare, clone with a new namespace, keyctl, bpf,
 * perf_event_open, kexec, io_uring and their like. Beside userfaultfd it allows mbind and get/set_mempolicy, which QEMU
 * asks for with every memory backend. A profile of ours, because the engine offers no "yours, and one more".
 */
export const HOST_RIGHTS: ContainerRights = {
  capabilities_dropped: ["ALL"],
  capabilities_added: ["SYS_PTRACE", "SYS_NICE"],
  security_options: [
    `seccomp=${JSON.stringify(JSON.parse(readFileSync(join(FIXTURES, "images/host.seccomp.json"), "utf8")))}`,
  ],
};

/**
 * A host with libvirt in it: before it starts a QEMU libvirt sets user and group, which are root's already, and takes
 * capabilities out of the bounding set (libvirt: src/util/virutil.c, virSetUIDGIDWithCaps).
 */
export const LIBVIRT_HOST_RIGHTS: ContainerRights = {
  ...HOST_RIGHTS,
  capabilities_added: [...HOST_RIGHTS.capabilities_added, "SETPCAP", "SETUID", "SETGID"],
};

/** The world outside makes an interface of its own, in a network namespace of its own: the engine's own profile holds for it. */
export const OUTSIDE_RIGHTS: ContainerRights = {
  capabilities_dropped: ["ALL"],
  capabilities_added: ["NET_ADMIN"],
  security_options: [],
};

/** Toxiproxy only takes and makes connections; the engine's own profile holds for it. */
export const LINKS_RIGHTS: ContainerRights = {
  capabilities_dropped: ["ALL"],
  capabilities_added: [],
  security_options: [],
};
