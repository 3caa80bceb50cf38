import { copyFileSync, cpSync, existsSync, linkSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../base/errors.ts";
import { contentHash, folderParts, isImageFile } from "./content.ts";
import { builderRecipe, debianTag } from "./debian.ts";
import { buildImage, type Making, temporaryFolder } from "./docker.ts";
import { FIXTURES, hostNode, imageFixture } from "./paths.ts";

/** The folders of fixtures/ that are built into every host; each has a `build.sh OUTDIR`. */
const BUILT = ["guests/integrity", "guests/linux", "native"];

/** Tag of the image with all that does not depend on the QEMU: guests, native tools, init, Node. */
export function toolsTag(fixtures = FIXTURES): string {
  const parts = BUILT.flatMap((folder) => [folder, ...folderParts(join(fixtures, folder))]);
  const hash = contentHash([
    debianTag(builderRecipe()),
    hostNode().version,
    imageFixture("tools.Dockerfile"),
    ...parts,
  ]);
  return `ferryman/tools:${hash}`;
}

/**
 * Builds guests and native tools in the builder image, which must exist.
 * @throws UserError when the files are no longer what `tag` was made of.
 */
export async function makeTools(making: Making, tag: string): Promise<void> {
  using folder = temporaryFolder();
  for (const name of BUILT) {
    if (!existsSync(join(FIXTURES, name, "build.sh"))) throw new UserError(`fixtures/${name}/build.sh is missing`);
    mkdirSync(join(folder.path, name), { recursive: true });
    cpSync(join(FIXTURES, name), join(folder.path, name), { recursive: true, filter: isImageFile });
  }
  if (toolsTag(folder.path) !== tag) {
    throw new UserError("fixtures/ was changed while images were being built: try again");
  }
  copyFileSync(join(FIXTURES, "images/tools.Dockerfile"), join(folder.path, "Dockerfile"));
  const node = join(folder.path, "node");
  try {
    linkSync(hostNode().path, node);
  } catch {
    copyFileSync(hostNode().path, node);
  }
  await buildImage(making, {
    image: "tools",
    tag,
    context: folder.path,
    args: { BUILDER: debianTag(builderRecipe()) },
  });
}
