import { tryLock, unlock } from './advisory-locks.js';
import type { RunSql } from './database-link.js';
import { isGone } from './database-holder.js';
import { listDatabases, type ListedDatabase } from './database-mark.js';
import type { DatabaseNames } from './database-names.js';
import { giveTime, hasClients } from './left-behind.js';
import { dropSql, hasGivenName } from './template-database.js';

/**
 * Drops what processes left that died or did not give their databases back: copies that were not ready,
 * databases that nobody has, and kept ones of templates that are gone. Databases of other templates, and those
 * that the kit has not made, are not touched.
 *
 * @param ownName the database that the connection of `run` has claimed
 */
export async function sweepLeftovers(
  run: RunSql,
  names: DatabaseNames,
  ownName: string,
): Promise<void> {
  const unsure: ListedDatabase[] = [];
  for (const each of await listLeftovers(run, names)) {
    if (each.name !== ownName && (await tryLock(run, each.name))) {
      const { holder } = each.mark ?? {};
      if (holder === undefined || isGone(holder)) {
        await dropLeftover(run, names, each);
      } else {
        unsure.push(each);
      }
      await unlock(run, each.name);
    }
  }
  if (unsure.length > 0) {
    await giveTime();
  }
  for (const each of unsure) {
    if (await tryLock(run, each.name)) {
      if (!(await hasClients(run, each.name))) {
        await dropLeftover(run, names, each);
      }
      await unlock(run, each.name);
    }
  }
}

/** Drops a database whose lock is held, unless it is another one since it was listed. */
async function dropLeftover(
  run: RunSql,
  names: DatabaseNames,
  { name, mark }: ListedDatabase,
): Promise<void> {
  // Before the lock was taken, another process may have made it anew and given it back, or lost its lock.
  const isStill = (await listLeftovers(run, names)).some(
    (each) => each.name === name && each.mark?.holder?.claim === mark?.holder?.claim,
  );
  if (isStill) {
    // Where this role may not drop it, or somebody else just did, the rest is swept all the same.
    await run(dropSql(name)).catch(() => undefined);
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
    const hasNoTemplate = mark?.kind === 'kept' && !templateIds.has(mark.templateId);
    return isOfTemplate && (mark?.kind === 'copy' || hasNoTemplate);
  });
}
