import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import DataLoader from 'dataloader';
import { InjectSession } from 'nestjs-db-context';

import { Book } from './library.entities.js';

/** Loads the books of all authors of an operation with one query. */
@Injectable()
export class BooksLoader {
  readonly #loaders = new WeakMap<object, DataLoader<number, Book[]>>();

  constructor(@InjectSession() private readonly session: EntityManager) {}

  /** @param operation the context object of an operation: a loader keeps what it has loaded */
  of(operation: object): DataLoader<number, Book[]> {
    const loader = this.#loaders.get(operation) ?? new DataLoader((ids) => this.#load(ids));
    this.#loaders.set(operation, loader);
    return loader;
  }

  async #load(ids: readonly number[]): Promise<Book[][]> {
    const books = await this.session.find(
      Book,
      { author: { $in: [...ids] } },
      { orderBy: { id: 'asc' } },
    );
    return ids.map((id) => books.filter(({ author }) => author.id === id));
  }
}
