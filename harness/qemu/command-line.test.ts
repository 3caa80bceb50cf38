import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UserError } from "../base/errors.ts";
import { type MachineSpec, migrationUri, qemuArgv } from "./command-line.ts";

const spec: MachineSpec = {
  name: "vm",
  accel: "tcg",
  machine: "pc-q35-7.2",
  memory_bytes: 128 << 20,
  ram_path: "/dev/shm/ram",
  kernel: "/guest.elf",
  append: "seed=1",
  qmp: [{ unix: "/run/qmp" }, { host: "127.0.0.1", port: 4444 }],
  serials: [
    { id: "com1", endpoint: { file: "/log" } },
    { id: "com2", endpoint: { unix: "/run/com2" } },
    { id: "com3", endpoint: null },
  ],
  paused: false,
};

/** The values of an option, in order. */
function valuesOf(argv: readonly string[], option: string): string[] {
  return argv.flatMap((arg, index) => (argv[index - 1] === option ? [arg] : []));
}

describe("QEMU's command line", () => {
  test("keeps guest RAM in the shared file, as the block ram0 and the machine's memory", () => {
    const argv = qemuArgv(spec);
    expect(valuesOf(argv, "-object")).toEqual([
      "memory-backend-file,id=ram0,share=on,mem-path=/dev/shm/ram,size=134217728",
    ]);
    expect(valuesOf(argv, "-machine")).toEqual(["pc-q35-7.2,memory-backend=ram0"]);
    expect(valuesOf(argv, "-m")).toEqual(["size=134217728B"]);
  });

  test("keeps it in memory without a name where that is asked for, under the same name of the block", () => {
    expect(valuesOf(qemuArgv({ ...spec, ram: "memfd" }), "-object")).toEqual([
      "memory-backend-memfd,id=ram0,share=on,size=134217728",
    ]);
    expect(valuesOf(qemuArgv({ ...spec, ram: "hugetlbfs" }), "-object")).toEqual([
      "memory-backend-memfd,id=ram0,share=on,hugetlb=on,hugetlbsize=2M,size=134217728",
    ]);
  });

  test("has the CPU model that was asked for, once", () => {
    expect(valuesOf(qemuArgv({ ...spec, cpu: "max" }), "-cpu")).toEqual(["max"]);
    expect(valuesOf(qemuArgv(spec), "-cpu")).toHaveLength(1);
  });

  test("listens on every monitor and serial line without waiting for a client", () => {
    expect(valuesOf(qemuArgv(spec), "-chardev")).toEqual([
      "socket,id=qmp0,path=/run/qmp,server=on,wait=off",
      "socket,id=qmp1,host=127.0.0.1,port=4444,server=on,wait=off",
      "file,id=com1,path=/log",
      "socket,id=com2,path=/run/com2,server=on,wait=off",
      "null,id=com3",
    ]);
    expect(valuesOf(qemuArgv(spec), "-serial")).toEqual(["chardev:com1", "chardev:com2", "chardev:com3"]);
  });

  test("source and target differ in nothing but what was asked for", () => {
    const target = qemuArgv({ ...spec, incoming: "defer", paused: true });
    expect(target.slice(0, qemuArgv(spec).length)).toEqual(qemuArgv(spec));
    expect(target.slice(qemuArgv(spec).length)).toEqual(["-incoming", "defer", "-S"]);
  });

  test("a comma in a path stays in the path", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z,=]{1,20}$/), (name) => {
        const [object = ""] = valuesOf(qemuArgv({ ...spec, ram_path: `/${name}` }), "-object");
        const path = /mem-path=((?:[^,]|,,)*),size=/.exec(object)?.[1];
        expect(path?.replaceAll(",,", ",")).toBe(`/${name}`);
      }),
    );
  });

  test.each([
    ["memory that is no whole page", { memory_bytes: (1 << 20) + 1 }],
    ["no memory", { memory_bytes: 0 }],
    ["no vCPU", { smp: 0 }],
    ["a socket path that no socket can have", { qmp: [{ unix: `/${"x".repeat(107)}` }] }],
  ])("refuses %s", (_what, wrong) => {
    expect(() => qemuArgv({ ...spec, ...wrong })).toThrow(UserError);
  });

  test("writes addresses as migrate takes them", () => {
    expect(migrationUri({ unix: "/run/m" })).toBe("unix:/run/m");
    expect(migrationUri({ host: "10.0.0.2", port: 5000 })).toBe("tcp:10.0.0.2:5000");
    expect(migrationUri({ host: "::1", port: 5000 })).toBe("tcp:[::1]:5000");
  });
});
