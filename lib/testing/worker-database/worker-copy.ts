import { lock, unlock } from './advisory-locks.js';
import type { DatabaseHolder } from './database-holder.js';
import type { RunSql } from './database-link.js';
import { markDatabase, type DatabaseMark } from './database-mark.js';
import { quoteIdentifier, type DatabaseNames } from './database-names.js';
import {
  dropSql,
  ensureTemplate,
  newName,
  whenFree,
  type Template,
  type TemplatePlan,
} from './template-database.js';

/** How often a template is made again after another process dropped it just before it was copied. */
const ATTEMPTS = 5;

/** Whether a copy is dropped with its worker, or kept for later ones. */
export type CopyKind = Exclude<DatabaseMark['kind'], 'template'>;

/** What a copy becomes. */
export interface CopyTarget {
  readonly name: string;
  readonly kind: CopyKind;
  readonly holder: DatabaseHolder;
}

/**
 * Puts a new copy of the template in the place of the database `target.name`, which the connection of `run` has
 * claimed. The copy is made and marked under another name, so that one without a mark never stands there.
 *
 * @returns the template that was copied
 */
export async function copyTemplate(
  run: RunSql,
  plan: TemplatePlan,
  target: CopyTarget,
): Promise<Template> {
  for (let count = 1; ; count++) {
    const template = await ensureTemplate(run, plan);
    try {
      await copy(run, plan.names, template, target);
      return template;
    } catch (error) {
      // A process with a newer version of the template has dropped this one meanwhile.
      const isGone = (error as { readonly code?: unknown }).code === '3D000';
      if (!isGone || count === ATTEMPTS) {
        throw error;
      }
    }
  }
}

async function copy(
  run: RunSql,
  names: DatabaseNames,
  { id, contents, fixtures }: Template,
  target: CopyTarget,
): Promise<void> {
  const unfinished = newName(names.copyPrefix);
  await lock(run, unfinished, 0);
  // No strategy is given: the default since version 15, wal_log, is faster for small databases.
  await whenFree(
    run,
    `create database ${quoteIdentifier(unfinished)} template ${quoteIdentifier(names.template)}`,
  );
  await markDatabase(run, unfinished, {
    mark: { kind: target.kind, template: names.template, templateId: id, holder: target.holder },
    contents,
    fixtures,
  });
  await run(dropSql(target.name));
  await whenFree(
    run,
    `alter database ${quoteIdentifier(unfinished)} rename to ${quoteIdentifier(target.name)}`,
  );
  await unlock(run, unfinished);
}
