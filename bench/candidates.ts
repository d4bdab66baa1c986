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

/** The library with somebody listening to it, and without: the candidates of the part `observed`. */
export const OBSERVED = ['library', 'open-telemetry', 'prometheus', 'inspector'] as const;

export type Candidate = (typeof CANDIDATES | typeof OBSERVED)[number];

/** All that may be asked for by name. */
export const ALL_CANDIDATES: readonly Candidate[] = [...new Set([...CANDIDATES, ...OBSERVED])];

export const ADAPTERS = ['fastify', 'express'] as const;

export type Adapter = (typeof ADAPTERS)[number];
