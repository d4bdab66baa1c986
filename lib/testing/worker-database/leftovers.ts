import { tryLock, unlock } from './advisory-locks.js';
import type { RunSql } from './database-link.js';
import { listDatabases, type ListedDatabase } from './database-mark.js';
import type { DatabaseNames } from './database-names.js';
import { dropSql, hasGivenName } from './template-database.js';

/**
 * Drops what processes left that died or did not give their databases back: copies that were not ready,
 * databases whose names nobody claims, and kept ones of templates that are gone. Databases of other
 * templates, and those that the kit has not made, are not touched.
 *
 * @param ownName the database that the connection of `run` has claimed
 */
export async function sweepLeftovers(
  run: RunSql,
  names: DatabaseNames,
  ownName: string,
): Promise<void> {
  for (const { name } of await listLeftovers(run, names)) {
    if (name !== ownName && (await tryLock(run, name))) {
      // Before the lock was taken, another process may have made it anew and given it back.
      const isStill = (await listLeftovers(run, names)).some((each) => each.name === name);
      if (isStill) {
        // Where this role may not drop it, or somebody else just did, the rest is swept all the same.
        await run(dropSql(name)).catch(() => undefined);
      }
      await unlock(run, name);
    }
  }
}

/** The databases that are leftovers unless a process has claimed them. */
async function listLeftovers(run: RunSql, names: DatabaseNames): Promise<ListedDatabase[]> {
  const { copyPrefix, templatePrefix, workerPrefix } = names;
  const all = await listDatabases(run, [copyPrefix, templatePrefix, workerPrefix]);
  const templateIds = new Set(
    all.map(({ mark }) => (mark?.kind === 'template' ? mark.templateId : undefined)),
  );
  return all.filter(({ name, mark }) => {
    if (hasGivenName(name, copyPrefix)) {
      return true;
    }
    const isOfTemplate = mark?.template.startsWith(templatePrefix) ?? false;
    const isGone = mark?.kind === 'kept' && !templateIds.has(mark.templateId);
    return isOfTemplate && (mark?.kind === 'copy' || isGone);
  });
}
