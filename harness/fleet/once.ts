import { randomBytes } from "node:crypto";
import { PassThrough } from "node:stream";
import type Docker from "dockerode";
import { within } from "../base/wait.ts";
import { runLabels } from "./labels.ts";
import { ownerOf } from "./owner.ts";
import type { ContainerRights } from "./rights.ts";

export interface OnceSpec {
  readonly image: string;
  /** For the container's name and for messages: "probe". */
  readonly what: string;
  /** A shell script. */
  readonly script: string;
  readonly devices?: readonly string[];
  readonly rights?: ContainerRights;
  readonly timeout_ms: number;
}

/**
 * Runs a script in a container of its own, without a network, and takes the container away again.
 * @returns everything it wrote, and its exit code: null when it had to be killed because its time ran out
 */
export async function runOnce(docker: Docker, spec: OnceSpec): Promise<{ output: string; exit_code: number | null }> {
  const container = await docker.createContainer({
    Image: spec.image,
    name: `ferryman-${spec.what}-${randomBytes(4).toString("hex")}`,
    Labels: runLabels(spec.what, ownerOf(process.pid) ?? ""),
    Entrypoint: ["/bin/sh", "-c", spec.script],
    Cmd: [],
    HostConfig: {
      NetworkMode: "none",
      Devices: (spec.devices ?? []).map((path) => ({
        PathOnHost: path,
        PathInContainer: path,
        CgroupPermissions: "rwm",
      })),
      CapDrop: [...(spec.rights?.capabilities_dropped ?? [])],
      CapAdd: [...(spec.rights?.capabilities_added ?? [])],
      SecurityOpt: [...(spec.rights?.security_options ?? [])],
    },
  });
  try {
    let output = "";
    const sink = new PassThrough().setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const stream = await container.attach({ stream: true, stdout: true, stderr: true });
    docker.modem.demuxStream(stream, sink, sink);
    await container.start();
    try {
      const ended = container.wait() as Promise<{ StatusCode: number }>;
      const { StatusCode } = await within({ what: spec.what, timeout_ms: spec.timeout_ms }, ended);
      return { output, exit_code: StatusCode };
    } catch {
      return { output, exit_code: null };
    }
  } finally {
    await container.remove({ force: true }).catch(() => undefined);
  }
}
