import { expect, it } from "vitest";
import { storageAddress } from "../../../fleet/links.ts";
import { diskElements, withDisksFrom } from "./disks.ts";

it("a domain's disks are the storage's, over the link of its host", () => {
  const xml = diskElements({ disks: ["raw", { kind: "ext4", format: "qcow2" }], storage_patience_ms: 4_000 }, "source");
  expect([...xml.matchAll(/protocol="nbd" name="(\w+)"/g)].map(([, name]) => name)).toEqual(["disk0", "disk1"]);
  expect([...xml.matchAll(/target dev="(\w+)"/g)].map(([, dev]) => dev)).toEqual(["vda", "vdb"]);
  expect([...xml.matchAll(/name="qemu" type="(\w+)"/g)].map(([, format]) => format)).toEqual(["raw", "qcow2"]);
  expect(xml).toContain('<reconnect delay="4"/>');
  expect(diskElements({}, "source")).toBe("");
});

it("goes to another host with the disks over that host's link, in libvirt's own quotes too", () => {
  const here = diskElements({ disks: ["raw", "ext4"] }, "source");
  const there = diskElements({ disks: ["raw", "ext4"] }, "target");
  expect(withDisksFrom(here, 2, "source", "target")).toBe(there);
  const { host, port } = storageAddress("source");
  const said = `<host name='${host}' port='${port}'/><host name='elsewhere' port='${port}'/>`;
  expect(withDisksFrom(said, 1, "source", "target")).toBe(
    `<host name="${host}" port="${storageAddress("target").port}"/><host name='elsewhere' port='${port}'/>`,
  );
  expect(() => withDisksFrom(here, 3, "source", "target")).toThrow(/names its storage 2 times, and has 3 disks/);
});
