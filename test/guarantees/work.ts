import type { EntityManager } from '@mikro-orm/postgresql';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';

/** How the text of a row ends that must never be there. */
export const IN_VAIN = ' in vain';

/** What a fault has the handler of each request do: the same code on both sides. */
export type Handler = (work: Work) => Promise<unknown>;

/** What the script has the handlers of its application do, and a record of what they wrote. */
export class Scenario {
  handler: Handler = (work) => work.write('row');
  /** Texts that each request has written, whether they were saved or not. */
  readonly written = new Map<string, Set<string>>();
  /** Late statements that saw the variables of a tenant: whose they were, and whose they saw. */
  readonly sights: { readonly own: string; readonly seen: string }[] = [];
  readonly #points = new Map<string, Deferred<void>>();
  readonly #late: Promise<unknown>[] = [];

  /** A point that one side reaches and the other waits for, by its name. */
  point(name: string): Deferred<void> {
    const point = this.#points.get(name) ?? deferred();
    this.#points.set(name, point);
    return point;
  }

  /** Keeps work that its request does not await; what it fails with is looked at in the rows. */
  leave(work: Promise<unknown>): void {
    this.#late.push(work.catch(() => undefined));
  }

  async late(): Promise<void> {
    await Promise.all(this.#late);
  }
}

/** One request, in the hands of its handler. */
export class Work {
  constructor(
    readonly key: string,
    readonly em: EntityManager,
    readonly scenario: Scenario,
  ) {}

  /** Saves a row that has to be there when, and only when, the request succeeds. */
  async write(label: string): Promise<void> {
    const text = `${this.key}/${label}`;
    this.scenario.written.set(
      this.key,
      (this.scenario.written.get(this.key) ?? new Set()).add(text),
    );
    await this.em.insert(Note, { text });
  }

  /** Saves a row that must never be there: of what is undone, or comes after the end. */
  async writeInVain(label = 'row'): Promise<void> {
    await this.em.insert(Note, { text: `${this.key}/${label}${IN_VAIN}` });
  }

  async backend(): Promise<number> {
    const [row] = await this.em.execute<{ pid: number }[]>('select pg_backend_pid() as pid');
    return row!.pid;
  }

  /** Resolves when the response has left, or its client. */
  get over(): Promise<void> {
    return this.scenario.point(`${this.key} over`).promise;
  }
}

/** Which of two tenants a request is of. */
export function tenantOf(key: string): string {
  return /[02468]$/.test(key) ? 'even' : 'odd';
}
