import type { EntityManager } from '@mikro-orm/postgresql';

import type { Stand } from './stand.js';

/** A service that uses the manager, and asks the next one; the last one reads. */
class Service {
  readonly #stand: Stand;
  readonly #next: Service | undefined;

  constructor(stand: Stand, next: Service | undefined) {
    this.#stand = stand;
    this.#next = next;
  }

  async find(handed: EntityManager, id: number): Promise<object> {
    const em = this.#stand.injected ?? handed;
    const account = this.#stand.accounts[0]!;
    if (this.#next === undefined) {
      return em.findOneOrFail(account, id);
    }
    // Each uses the manager, as a service does; this needs no statement.
    const { id: same } = em.getReference(account, id);
    return this.#next.find(handed, same);
  }
}

/** A unit of work that goes through so many services. */
export function services(stand: Stand): (depth: number) => Promise<object> {
  const chains = new Map<number, Service>();
  const chainOf = (depth: number): Service => {
    let chain = chains.get(depth);
    if (chain === undefined) {
      chain = new Service(stand, depth > 1 ? chainOf(depth - 1) : undefined);
      chains.set(depth, chain);
    }
    return chain;
  };
  return (depth) => stand.run((em) => chainOf(depth).find(em, 7));
}
