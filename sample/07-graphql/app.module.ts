import { defineConfig } from '@mikro-orm/postgresql';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module, type DynamicModule } from '@nestjs/common';
import { GraphQLModule } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { PubSub } from 'graphql-subscriptions';
import { DbContextModule } from 'nestjs-db-context';
import { DbContextGraphQLModule } from 'nestjs-db-context/graphql';

import { BooksLoader } from './library/books.loader.js';
import { Author, Book } from './library/library.entities.js';
import { LibraryResolver } from './library/library.resolver.js';

export type ServerName = 'apollo' | 'mercurius';

export interface SampleOptions {
  readonly databaseUrl: string;
  readonly server: ServerName;
}

@Module({
  providers: [
    BooksLoader,
    LibraryResolver,
    { provide: PubSub, useFactory: (): PubSub => new PubSub() },
  ],
})
export class AppModule {
  static register({ databaseUrl, server }: SampleOptions): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [defineConfig({ clientUrl: databaseUrl, entities: [Author, Book] })],
        }),
        // The only difference between the two servers.
        server === 'apollo'
          ? GraphQLModule.forRoot<ApolloDriverConfig>({
              driver: ApolloDriver,
              autoSchemaFile: true,
              subscriptions: { 'graphql-ws': true },
            })
          : GraphQLModule.forRoot<MercuriusDriverConfig>({
              driver: MercuriusDriver,
              autoSchemaFile: true,
              subscription: true,
            }),
        DbContextGraphQLModule.forRoot(),
      ],
    };
  }
}
