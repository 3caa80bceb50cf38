import { isPaused, type Seen } from "./manager.ts";
import { QmpManager } from "./qmp.ts";

/**
 * Takes a post-copy that is paused for one that has failed, and resumes nothing: KubeVirt's policy (kubevirt:
 * pkg/virt-launcher/virtwrap/live-migration-source.go). A link that says nothing it does not notice: QEMU does not
 * either, and nobody looks for progress after switchover.
 */
export class NoManager extends QmpManager {
  override tend({ source, target }: Seen): Promise<string | undefined> {
    const paused = [isPaused(source) ? "source" : [], isPaused(target) ? "target" : []].flat();
    if (paused.length === 0) return Promise.resolve(undefined);
    return Promise.resolve(
      `postcopy-paused on ${paused.join(" and ")}: this manager takes that for a failed migration, and resumes nothing`,
    );
  }
}
