/** The names of the candidates, see `app/candidates`. The first one is this library. */
export const CANDIDATES = [
  'library',
  'first-write',
  'middleware',
  'inspector',
  'hand-written',
  'hand-intercepted',
  'request-context',
  'request-scope',
  'cls-transaction',
  'no-database',
  'bare-interceptor',
  'bare-middleware',
] as const;

export type Candidate = (typeof CANDIDATES)[number];

export const ADAPTERS = ['fastify', 'express'] as const;

export type Adapter = (typeof ADAPTERS)[number];
