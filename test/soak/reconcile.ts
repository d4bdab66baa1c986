import { PARTS } from './entry.entities.js';
import type { Log } from './load.js';
import type { SoakDatabase } from './soak-connection.js';

/**
 * What is saved and should not be, or the other way round; empty when all is well.
 *
 * @param logs of all clients
 */
export async function reconcile(
  databases: readonly SoakDatabase[],
  logs: readonly Log[],
): Promise<string[]> {
  const problems: string[] = [];
  const failed = new Map(logs.flatMap((log) => [...log.failed]));
  for (const { name, database } of databases) {
    const rows = await database.query<{ key: string; parts: number }>(
      'select key, count(*)::int as parts from entry group by key',
    );
    const saved = new Map(rows.map(({ key, parts }) => [key, parts]));
    for (const [key, parts] of saved) {
      if (parts !== PARTS) {
        problems.push(`${name}: half of ${key} is saved`);
      }
      if (key.endsWith('-')) {
        problems.push(`${name}: ${key} is saved, and never should be`);
      }
      const error = failed.get(key);
      if (error !== undefined) {
        problems.push(`${name}: ${key} is saved, its client got ${error}`);
      }
    }
    for (const [key, where] of logs.flatMap((log) => [...log.saved])) {
      if ((where === 'both' || name === 'default') && !saved.has(key)) {
        problems.push(`${name}: ${key} was acknowledged, and is not saved`);
      }
    }
  }
  const [tally] = await databases[0]!.database.query<{ value: number; units: number }>(
    `select value, (select count(distinct key)::int from entry where key like '%-retry-%') as units
     from tally`,
  );
  if (tally!.value !== tally!.units) {
    problems.push(`default: ${tally!.units} increments are saved, the tally is ${tally!.value}`);
  }
  return problems;
}

/** How many units of work are saved though their clients left: most of them, or few (`onDisconnect`). */
export async function countSavedOfLeft(
  databases: readonly SoakDatabase[],
  { left }: Log,
): Promise<number> {
  const [row] = await databases[0]!.database.query<{ count: number }>(
    'select count(distinct key)::int as count from entry where key = any($1)',
    [[...left]],
  );
  return row!.count;
}

/** Empties the tables for the next round. */
export async function forget(databases: readonly SoakDatabase[]): Promise<void> {
  for (const { database } of databases) {
    await database.query('truncate entry; update tally set value = 0');
  }
}
