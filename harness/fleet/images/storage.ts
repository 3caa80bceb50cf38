import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { contentHash, packageList } from "./content.ts";
import { type DebianRecipe, debianTag } from "./debian.ts";
import { buildImage, type Making, temporaryFolder } from "./docker.ts";
import { FIXTURES, imageFixture } from "./paths.ts";

/**
 * The base of the host that exports disks.
 * @param kind `images`: disks are images of the user's too
 */
export function storageRecipe({ images }: { readonly images: boolean }): DebianRecipe {
  const packages = packageList(imageFixture("storage.packages"));
  return {
    what: images ? "base-storage-images" : "base-storage",
    suite: "trixie",
    packages: images ? [...packages, ...packageList(imageFixture("images.packages"))] : packages,
    backported: [],
  };
}

export interface StorageParts {
  readonly tools: string;
  readonly agent: string | undefined;
  readonly images: boolean;
}

export function storageTag({ tools, agent, images }: StorageParts): string {
  const recipe = debianTag(storageRecipe({ images }));
  return `ferryman/storage:${contentHash([recipe, tools, imageFixture("host.Dockerfile"), agent ?? "no agent"])}`;
}

/** Puts tools and agent onto the storage's base, as onto a host's. */
export async function makeStorage(making: Making, parts: StorageParts): Promise<void> {
  using folder = temporaryFolder();
  copyFileSync(join(FIXTURES, "images/host.Dockerfile"), join(folder.path, "Dockerfile"));
  mkdirSync(join(folder.path, "added/agent"), { recursive: true });
  writeFileSync(join(folder.path, "added/agent/agent.mjs"), parts.agent ?? "");
  await buildImage(making, {
    image: "storage",
    tag: storageTag(parts),
    context: folder.path,
    args: {
      BASE: debianTag(storageRecipe(parts)),
      TOOLS: parts.tools,
      IMAGE_PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    },
  });
}
