import { PARTS } from './entry.entities.js';
import type { Log } from './load.js';
import type { SoakApp } from './soak-app.js';

/** What is saved and should not be, or the other way round; empty when all is well. */
export async function reconcile(app: SoakApp, log: Log): Promise<string[]> {
  const problems: string[] = [];
  for (const { name, database } of app.connections) {
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
      const error = log.failed.get(key);
      if (error !== undefined) {
        problems.push(`${name}: ${key} is saved, its client got ${error}`);
      }
    }
    for (const [key, where] of log.saved) {
      if ((where === 'both' || name === 'default') && !saved.has(key)) {
        problems.push(`${name}: ${key} was acknowledged, and is not saved`);
      }
    }
  }
  const [tally] = await app.connections[0]!.database.query<{ value: number; units: number }>(
    `select value, (select count(distinct key)::int from entry where key like '%-retry-%') as units
     from tally`,
  );
  if (tally!.value !== tally!.units) {
    problems.push(`default: ${tally!.units} increments are saved, the tally is ${tally!.value}`);
  }
  return problems;
}

/** Empties the tables for the next round. */
export async function forget(app: SoakApp): Promise<void> {
  for (const { database } of app.connections) {
    await database.query('truncate entry; update tally set value = 0');
  }
}
