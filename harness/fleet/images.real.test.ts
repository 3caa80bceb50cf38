import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { PassThrough } from "node:stream";
import { promisify } from "node:util";
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { findEngine } from "./engine.ts";
import { builderRecipe, debianTag } from "./images/debian.ts";
import { inspectImage, readProgress, tagImage } from "./images/docker.ts";
import { DEFAULT_QEMU, ensureImages, imageState } from "./images.ts";

const say = (): void => undefined;

describe("images", () => {
  let docker: Docker;
  const made: string[] = [];

  beforeAll(async () => {
    const found = await findEngine();
    if (!found) throw new Error("no container engine answers");
    docker = found;
    await ensureImages(docker, { qemu: DEFAULT_QEMU, say });
  });

  afterAll(async () => {
    for (const name of made) await docker.getImage(name).remove({ force: true });
  });

  /** An image of one folder, imported from a tar without any registry. */
  async function imageOf(name: string, files: Readonly<Record<string, string>>): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "ferryman-test-"));
    try {
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(join(folder, path, ".."), { recursive: true });
        writeFileSync(join(folder, path), text, { mode: 0o755 });
      }
      const { stdout } = await promisify(execFile)("tar", ["-C", folder, "-c", "."], { encoding: "buffer" });
      const tag = `ferryman-test/${name}:${process.pid}`;
      const [repo, version] = tag.split(":");
      const body = new PassThrough();
      body.end(stdout);
      const answer = await docker.importImage(body, { repo, tag: version, changes: "LABEL ferryman=image" });
      await readProgress(answer as Readable, new AbortController().signal, say);
      made.push(tag);
      return tag;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  it("builds nothing the second time", async () => {
    const images = await ensureImages(docker, { qemu: DEFAULT_QEMU, say });
    expect(images.built).toEqual([]);
    expect(images.qemu_version).toMatch(/^10\.0\./);
    expect((await imageState(docker, DEFAULT_QEMU)).filter((state) => !state.found)).toEqual([]);
  });

  it("takes an image of the user's, and finds the same QEMU in it", async () => {
    const state = await imageState(docker, DEFAULT_QEMU);
    const base = state.find((image) => image.what.startsWith("base-"))?.tag ?? "";
    const images = await ensureImages(docker, { qemu: base, say });
    made.push(images.host);
    expect(images.host).not.toBe((await ensureImages(docker, { qemu: DEFAULT_QEMU, say })).host);
    expect(images.qemu_version).toMatch(/^10\.0\./);
  });

  it("refuses a name that is neither a QEMU nor an image, and says which names there are", async () => {
    const asked = ensureImages(docker, { qemu: "ferryman-test/nowhere:0", say });
    await expect(asked).rejects.toThrow(UserError);
    await expect(asked).rejects.toThrow(/no image ferryman-test\/nowhere:0.*Names: 7\.2, 10\.0, 11\.1/s);
  });

  it("refuses an image without a shell", async () => {
    const image = await imageOf("empty", { "etc/nothing": "" });
    await expect(ensureImages(docker, { qemu: image, say })).rejects.toThrow(/has no \/bin\/sh/);
  });

  it("refuses an image without QEMU", async () => {
    // The builder is a Debian without QEMU; it gets a name of its own, as a user's image would have.
    const image = `ferryman-test/no-qemu:${process.pid}`;
    const builder = builderRecipe();
    const found = await inspectImage(docker, debianTag(builder));
    expect(found, "the builder image").toBeDefined();
    await tagImage(docker, debianTag(builder), image);
    made.push(image);
    await expect(ensureImages(docker, { qemu: image, say })).rejects.toThrow(
      /cannot be a host: it must contain qemu-system-x86_64/,
    );
  });
});
