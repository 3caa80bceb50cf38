import { createWriteStream, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type Docker from "dockerode";
import type { Net } from "../../../base/configuration.ts";
import { runCommand } from "../../../fleet/images/command.ts";
import { runLabels } from "../../../fleet/labels.ts";
import { ownerOf } from "../../../fleet/owner.ts";
import { linuxFiles } from "../../../guests/linux/files.ts";

/**
 * A small Linux with a shell and an HTTP server of busybox, for tests of what a run can tell of a VM of somebody's own:
 * on its first disk it keeps what it was told to append, and on request it harms itself.
 */
const INIT = String.raw`#!/bin/busybox sh
/bin/busybox mkdir -p /bin /disk /www/cgi-bin
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t devtmpfs none /dev
exec </dev/console >/dev/console 2>&1
for list in disk net; do while read -r module; do insmod /modules/$module 2>/dev/null; done </modules/$list.list; done
ip addr add 10.77.0.2/24 dev eth0
ip link set eth0 up
mount -t ext4 /dev/vda /disk
echo well >/www/health
cat >/www/cgi-bin/do <<'END'
#!/bin/sh
export PATH=/bin
printf 'Content-type: text/plain\r\n\r\n'
case $QUERY_STRING in
append=*) echo "\${QUERY_STRING#*=}" >>/disk/ledger && sync && echo "done \${QUERY_STRING#*=}" ;;
list) cat /disk/ledger && echo end ;;
harm) rm /www/health; sed -i 3d /disk/ledger; dd if=/dev/zero of=/dev/vdb bs=1k seek=2 count=1; sync; echo harmed ;;
esac
END
chmod 755 /www/cgi-bin/do
httpd -p 80 -h /www
stty -F /dev/ttyS1 clocal
(while :; do setsid sh </dev/ttyS1 >/dev/ttyS1 2>&1; sleep 1; done) &
n=0
while :; do
  n=$((n + 1))
  echo "tick $n"
  sleep 0.2
done
`.replaceAll("\\$", "$");

/** With blocks of 1 KiB: the group descriptors, which say where everything else is, are the third. */
const DISK = "truncate -s 8M /disk && mke2fs -q -t ext4 -b 1024 /disk";

export interface TinyGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** Each a raw image with an ext4 on it. */
  readonly disks: readonly string[];
}

/**
 * @param images a hosts' image, which has the Linux guest, and the one that exports images, which can make a file system
 * @param net the card for which it has a driver
 */
export async function makeTinyGuest(
  docker: Docker,
  images: { readonly host: string; readonly images: string },
  folder: string,
  net: Net,
): Promise<TinyGuest> {
  const from = linuxFiles(net);
  const kernel = join(folder, "vmlinux");
  const initrd = join(folder, "initrd");
  await copyFrom(docker, images.host, "true", { [from.kernel]: kernel, [from.initrd]: initrd });
  // The kernel unpacks one archive after the other: the later one's file replaces the earlier one's.
  const built = readFileSync(initrd);
  const aligned = Buffer.alloc((4 - (built.length % 4)) % 4);
  writeFileSync(initrd, Buffer.concat([built, aligned, archiveOf("init", INIT)]));
  const disk = join(folder, "disk");
  await copyFrom(docker, images.images, DISK, { "/disk": disk });
  const disks = ["a.raw", "b.raw"].map((name) => join(folder, name));
  for (const path of disks) writeFileSync(path, readFileSync(disk));
  return { kernel, initrd, disks };
}

/** One executable file as cpio has it: Linux Documentation/driver-api/early-userspace/buffer-format.rst, "newc". */
function archiveOf(name: string, content: string): Buffer {
  const entry = (path: string, mode: number, bytes: Buffer): readonly Buffer[] => {
    const numbers = [1, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, path.length + 1, 0];
    const head = `070701${numbers.map((n) => n.toString(16).padStart(8, "0")).join("")}${path}\0`;
    return [head, bytes].map((part) => {
      const whole = Buffer.from(part);
      return Buffer.concat([whole, Buffer.alloc((4 - (whole.length % 4)) % 4)]);
    });
  };
  return Buffer.concat([
    ...entry(name, 0o100_755, Buffer.from(content)),
    ...entry("TRAILER!!!", 0, Buffer.alloc(0)),
    Buffer.alloc(512),
  ]);
}

/** Runs a command in a container of an image, and copies files out of it; by path there, where they go. */
async function copyFrom(
  docker: Docker,
  image: string,
  command: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  const container = await docker.createContainer({
    Image: image,
    Entrypoint: ["/bin/sh", "-c"],
    Cmd: [command],
    Labels: runLabels("tiny-guest", ownerOf(process.pid) ?? String(process.pid)),
    NetworkDisabled: true,
  });
  try {
    await container.start();
    const { StatusCode } = await container.wait();
    if (StatusCode !== 0) throw new Error(`in ${image} ended with ${StatusCode}: ${command}`);
    for (const [path, to] of Object.entries(files)) {
      await pipeline(await container.getArchive({ path }), createWriteStream(`${to}.tar`));
      writeFileSync(to, "");
      await runCommand("sh", ["-c", 'tar -xOf "$1" >"$2" && rm "$1"', "sh", `${to}.tar`, to]);
    }
  } finally {
    await container.remove({ force: true });
  }
}
