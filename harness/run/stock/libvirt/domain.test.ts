import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { VmMachine } from "../../../fleet/vm.ts";
import { domainXml } from "./domain.ts";

const machine: VmMachine = {
  accel: "tcg",
  machine: "q35",
  vcpus: 2,
  ram: "file",
  extra: ["-device", "virtio-rng-pci"],
  memory_bytes: 128 * 1024 ** 2,
  kernel: "/kernel",
  append: "seed=7",
};

/** What stands in the attribute or element, unescaped. */
const plain = (text: string): string =>
  text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&amp;", "&");

describe("the domain that libvirt is asked for", () => {
  it("has the machine, guest RAM in a shared file, and monitors for the harness beside libvirt's", () => {
    const xml = domainXml(machine, "/usr/bin/qemu", "");
    expect(xml).toContain('<memory unit="b">134217728</memory>');
    expect(xml).toContain("<vcpu>2</vcpu>");
    expect(xml).toContain('<source type="file"/><access mode="shared"/>');
    expect(xml.match(/mode=control/g)).toHaveLength(3);
    expect(xml).toContain('<qemu:arg value="virtio-rng-pci"/>');
    expect(domainXml({ ...machine, accel: "kvm" }, "/usr/bin/qemu", "<disk/>")).toMatch(
      /<domain type="kvm"[\s\S]*<devices>.*<disk\/>/,
    );
  });

  it("carries any command line and any argument through XML", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "=", "<", ">", "&", '"', " ", ";") });
    fc.assert(
      fc.property(text, text, (append, argument) => {
        const xml = domainXml({ ...machine, append, extra: [argument] }, "/usr/bin/qemu", "");
        expect(plain(/<cmdline>([^<]*)<\/cmdline>/.exec(xml)?.[1] ?? "?")).toBe(append);
        expect([...xml.matchAll(/<qemu:arg value="([^"]*)"/g)].map(([, value = "?"]) => plain(value))).toContain(
          argument,
        );
      }),
    );
  });

  it("is refused for guest RAM that the harness could not read", () => {
    expect(() => domainXml({ ...machine, ram: "memfd" }, "/usr/bin/qemu", "")).toThrow(/is a file here, not memfd/);
  });
});
