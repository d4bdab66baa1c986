// The code of docs/graphql.md; tsc checks it here, and a spec checks that it is the same.
import type { EntityManager } from '@mikro-orm/postgresql';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Injectable, Module } from '@nestjs/common';
import {
  Args,
  Context,
  GraphQLModule,
  Mutation,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import DataLoader from 'dataloader';
import { PubSub } from 'graphql-subscriptions';
import {
  CommitOn,
  DbContext,
  DbContextModule,
  InjectSession,
  type DbContextModuleOptions,
} from 'nestjs-db-context';
import { DbContextGraphQLModule } from 'nestjs-db-context/graphql';

import { Author, Book } from '../support/library.entities.js';

const options: DbContextModuleOptions = { connections: [] };

class AuthorType {
  id!: number;
}
class BookType {
  id!: number;
}
class WrongPin extends Error {}
class Attempt {
  constructor(readonly pin: string) {}
}

@Module({
  imports: [
    DbContextModule.forRoot(options),
    GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
    DbContextGraphQLModule.forRoot(),
  ],
})
export class AppModule {}

@Injectable()
export class BooksLoader {
  readonly #loaders = new WeakMap<object, DataLoader<number, Book[]>>();

  constructor(@InjectSession() private readonly session: EntityManager) {}

  of(operation: object): DataLoader<number, Book[]> {
    const loader = this.#loaders.get(operation) ?? new DataLoader((ids) => this.#load(ids));
    this.#loaders.set(operation, loader);
    return loader;
  }

  async #load(ids: readonly number[]): Promise<Book[][]> {
    const books = await this.session.find(Book, { author: { $in: [...ids] } });
    return ids.map((id) => books.filter(({ author }) => author.id === id));
  }
}

@Resolver(() => AuthorType)
export class AuthorsResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly books: BooksLoader,
  ) {}

  @Query(() => [AuthorType])
  authors(): Promise<Author[]> {
    return this.session.find(Author, {});
  }

  @ResolveField(() => [BookType])
  writtenBooks(@Parent() author: Author, @Context() operation: object): Promise<Book[]> {
    return this.books.of(operation).load(author.id);
  }
}

@Resolver()
export class LogInResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @CommitOn(({ errors = [] }) =>
    errors.every(({ originalError }) => originalError instanceof WrongPin),
  )
  @Mutation(() => Boolean)
  async logIn(@Args('pin') pin: string): Promise<boolean> {
    this.session.persist(new Attempt(pin));
    throw new WrongPin();
  }
}

export const apollo = GraphQLModule.forRoot<ApolloDriverConfig>({
  driver: ApolloDriver,
  autoSchemaFile: true,
  subscriptions: { 'graphql-ws': true },
});
export const mercurius = GraphQLModule.forRoot<MercuriusDriverConfig>({
  driver: MercuriusDriver,
  autoSchemaFile: true,
  subscription: { fullWsTransport: true },
});

@Resolver(() => BookType)
export class BooksResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
    private readonly pubSub: PubSub,
  ) {}

  @Mutation(() => BookType)
  addBook(@Args('title') title: string): Book {
    const book = new Book(title);
    this.session.persist(book);
    this.dbContext.onCommit(() => this.pubSub.publish('bookAdded', { id: book.id }));
    return book;
  }

  @Subscription(() => BookType, {
    async filter(this: BooksResolver, { id }: { id: number }, { author }: { author: number }) {
      return (await this.session.count(Book, { id, author })) > 0;
    },
    resolve(this: BooksResolver, { id }: { id: number }) {
      return this.session.findOneOrFail(Book, id);
    },
  })
  async bookAdded(@Args('author') author: number): Promise<AsyncIterator<{ id: number }>> {
    await this.session.findOneOrFail(Author, author); // in a context that ends before the first event
    return this.pubSub.asyncIterableIterator('bookAdded');
  }
}
