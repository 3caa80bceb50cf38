import { expect, it } from "vitest";
import { HOST_RIGHTS } from "./rights.ts";

interface Profile {
  readonly defaultAction: string;
  readonly syscalls: readonly { readonly names: readonly string[]; readonly action: string; readonly args?: unknown }[];
}

it("a host's profile allows what is listed, userfaultfd among it, and nothing that changes the machine", () => {
  const [option = ""] = HOST_RIGHTS.security_options;
  const profile = JSON.parse(option.slice("seccomp=".length)) as Profile;
  expect(profile.defaultAction).toBe("SCMP_ACT_ERRNO");
  const allowed = profile.syscalls
    .filter(({ action, args }) => action === "SCMP_ACT_ALLOW" && args === undefined)
    .flatMap(({ names }) => names);
  expect(allowed).toEqual(expect.arrayContaining(["userfaultfd", "pidfd_getfd", "ioctl", "mbind", "futex"]));
  const closed = ["mount", "umount2", "unshare", "setns", "clone", "clone3", "bpf", "keyctl", "add_key", "reboot"];
  closed.push("perf_event_open", "kexec_load", "init_module", "finit_module", "io_uring_setup", "open_by_handle_at");
  expect(allowed.filter((name) => closed.includes(name))).toEqual([]);
});
