/** Versions that the library is to work with, side by side in one application. */
export interface Combination {
  readonly nest: 11 | 12;
  readonly modules: 'commonjs' | 'esm';
  readonly server: 'express' | 'fastify';
  /** Packages and the ranges that npm is asked for, besides those that all combinations have. */
  readonly packages: Readonly<Record<string, string>>;
  /** Whether the optional peers are there, and what is over them is proved as well. */
  readonly hasPeers?: true;
  /** Whether it is one of the few that CI has the time for. */
  readonly isQuick?: true;
}

/** The newest that the registry has of all packages of MikroORM that an application needs at run time. */
const NEWEST_MIKRO_ORM = '7.2.5';

const nest = (range: string, server: Combination['server']): Record<string, string> => ({
  '@nestjs/common': range,
  '@nestjs/core': range,
  [`@nestjs/platform-${server}`]: range,
});

const mikroOrm = (version: string): Record<string, string> => ({
  '@mikro-orm/core': version,
  '@mikro-orm/postgresql': version,
});

/** Optional peers as they go with a major version of Nest. */
const PEERS = {
  oldest11: {
    '@nestjs/bullmq': '11.0.1',
    '@nestjs/cqrs': '11.0.0',
    '@nestjs/event-emitter': '3.0.0',
    '@nestjs/graphql': '13.0.0',
    '@nestjs/terminus': '11.0.0',
    bullmq: '^5.81.5',
    graphql: '16.11.0',
  },
  newest11: {
    '@nestjs/bullmq': '^11.0.0',
    '@nestjs/cqrs': '^11.0.0',
    '@nestjs/event-emitter': '^3.0.0',
    '@nestjs/graphql': '^13.0.0',
    '@nestjs/terminus': '^11.0.0',
    bullmq: '^5.81.5',
    graphql: '^16.11.0',
  },
  newest12: {
    '@nestjs/bullmq': '^12.0.0',
    '@nestjs/cqrs': '^12.0.0',
    '@nestjs/event-emitter': '^12.0.0',
    '@nestjs/graphql': '^14.0.0',
    '@nestjs/terminus': '^12.0.0',
    bullmq: '^6.7.0',
    graphql: '^16.11.0',
  },
} as const;

export const COMBINATIONS: readonly Combination[] = [
  {
    nest: 11,
    modules: 'commonjs',
    server: 'express',
    isQuick: true,
    packages: {
      ...nest('11.0.5', 'express'),
      ...mikroOrm('7.2.1'),
      'nestjs-cls': '6.3.0',
      node: '22.17.0',
    },
  },
  {
    nest: 11,
    modules: 'commonjs',
    server: 'express',
    hasPeers: true,
    packages: {
      ...nest('11.0.5', 'express'),
      ...mikroOrm(NEWEST_MIKRO_ORM),
      ...PEERS.oldest11,
      'nestjs-cls': '6.3.0',
      node: '^24.0.0',
    },
  },
  {
    nest: 11,
    modules: 'esm',
    server: 'fastify',
    hasPeers: true,
    packages: {
      ...nest('^11.0.5', 'fastify'),
      ...mikroOrm('7.2.1'),
      ...PEERS.newest11,
      'nestjs-cls': '^6.3.0',
      node: '^22.17.0',
    },
  },
  {
    nest: 12,
    modules: 'esm',
    server: 'fastify',
    packages: {
      ...nest('~12.0.0', 'fastify'),
      ...mikroOrm('7.2.1'),
      'nestjs-cls': '7.0.0',
      node: '22.17.0',
    },
  },
  {
    nest: 12,
    modules: 'esm',
    server: 'fastify',
    hasPeers: true,
    isQuick: true,
    packages: {
      ...nest('^12.0.0', 'fastify'),
      ...mikroOrm(NEWEST_MIKRO_ORM),
      ...PEERS.newest12,
      'nestjs-cls': '^7.0.0',
      node: '^26.0.0',
    },
  },
  {
    nest: 12,
    modules: 'commonjs',
    server: 'express',
    packages: {
      ...nest('^12.0.0', 'express'),
      ...mikroOrm(NEWEST_MIKRO_ORM),
      'nestjs-cls': '^7.0.0',
      node: '^24.0.0',
    },
  },
  {
    nest: 12,
    modules: 'esm',
    server: 'express',
    packages: {
      ...nest('^12.0.0', 'express'),
      ...mikroOrm(NEWEST_MIKRO_ORM),
      'nestjs-cls': '^6.3.0',
      node: '^24.0.0',
    },
  },
];
