import type { PgClient, PgResult } from '../postgresql/pg-client.js';
import { changedSettings } from './changed-settings.js';

/** A question for the values of settings, and their names in the order of its columns. */
export interface SettingsQuestion {
  readonly names: readonly string[];
  /** One statement; none where nothing is to be asked. */
  readonly statements: readonly string[];
}

const NOTHING_TO_ASK: SettingsQuestion = { names: [], statements: [] };

/**
 * The settings that a transaction of the application has changed, with their values before it. COMMIT
 * gives those back that are local to the transaction; inside of a transaction that goes on they have to
 * be set again.
 */
export class LocalSettings {
  readonly #client: PgClient;
  readonly #before = new Map<string, string>();

  constructor(client: PgClient) {
    this.#client = client;
  }

  /** What is to be asked before a statement, which is about to change settings. */
  questionFor(sql: string, values: readonly unknown[]): SettingsQuestion {
    const changed = changedSettings(sql, values);
    if (changed.length === 0) {
      return NOTHING_TO_ASK;
    }
    const names = [...new Set(changed)].filter((name) => !this.#before.has(name));
    const columns = names.map((name, index) => {
      const literal = this.#client.escapeLiteral(name);
      return `pg_catalog.current_setting(${literal}, true) as ${columnOf(index)}`;
    });
    return { names, statements: names.length === 0 ? [] : [`select ${columns.join(', ')}`] };
  }

  /** @param answer the answer to the question, if there was one */
  answered({ names }: SettingsQuestion, answer: PgResult | undefined): void {
    const [row] = (answer?.rows ?? []) as Readonly<Record<string, string | null>>[];
    names.forEach((name, index) => {
      const value = row?.[columnOf(index)] ?? undefined;
      // A variable that was never set reads as empty after the transaction that sets it. An unknown
      // name without a dot is no setting; it was part of another text.
      if (value !== undefined || name.includes('.')) {
        this.#before.set(name, value ?? '');
      }
    });
  }

  /** The statements that give the settings their earlier values back. */
  get restoration(): readonly string[] {
    // In reverse order, so that the role goes first: it may not be allowed to set the variables.
    return [...this.#before].toReversed().map(([name, value]) => {
      const [key, text] = [name, value].map((each) => this.#client.escapeLiteral(each));
      return `select pg_catalog.set_config(${key}, ${text}, true)`;
    });
  }
}

function columnOf(index: number): string {
  return `setting_${index}`;
}
