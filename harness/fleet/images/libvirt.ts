import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../base/errors.ts";
import { contentHash } from "./content.ts";
import { type DebianRecipe, debianTag, libvirtRecipe, QEMU_RECIPES } from "./debian.ts";
import { buildImage, type Making, temporaryFolder } from "./docker.ts";
import { FIXTURES, imageFixture } from "./paths.ts";

const CONFIGURATION = ["qemu.conf", "libvirtd.conf"] as const;

/** The recipe of a base with libvirt. @throws UserError for an image of the user's: which libvirt belongs to that? */
export function recipeWithLibvirt(qemu: string): DebianRecipe {
  const recipe = libvirtRecipe(qemu);
  if (recipe !== undefined) return recipe;
  const names = Object.keys(QEMU_RECIPES).join(", ");
  throw new UserError(
    `With --manager libvirt the QEMU is one of those that Ferryman makes hosts for (${names}), with Debian's libvirt beside it: ${qemu} is another image.`,
  );
}

/** What libvirt is configured to and has found out of its QEMU goes onto the recipe's base. */
export function libvirtTag(recipe: DebianRecipe): string {
  const hash = contentHash([debianTag(recipe), imageFixture("libvirt.Dockerfile"), ...CONFIGURATION.map(imageFixture)]);
  return `ferryman/${recipe.what}-ready:${hash}`;
}

/** Makes the image of {@link libvirtTag}; the recipe's base is there. */
export async function makeLibvirt(making: Making, recipe: DebianRecipe): Promise<void> {
  using folder = temporaryFolder();
  copyFileSync(join(FIXTURES, "images/libvirt.Dockerfile"), join(folder.path, "Dockerfile"));
  for (const name of CONFIGURATION) copyFileSync(join(FIXTURES, "images", name), join(folder.path, name));
  await buildImage(making, {
    image: `${recipe.what}-ready`,
    tag: libvirtTag(recipe),
    context: folder.path,
    args: { BASE: debianTag(recipe) },
  });
}
