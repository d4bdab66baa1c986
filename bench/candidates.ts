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
  'nestjs-cls-transactional',
  'mikro-orm-nestjs',
  'typeorm',
  'drizzle',
  'no-database',
  'bare-interceptor',
  'bare-middleware',
] as const;

/** The library with somebody listening to it, and without: the candidates of the part `observed`. */
export const OBSERVED = ['library', 'open-telemetry', 'prometheus', 'inspector'] as const;

export type Candidate = (typeof CANDIDATES | typeof OBSERVED)[number];

/** The candidates of the table that the bench prints without options. */
export const SUMMARY: readonly Candidate[] = [
  'library',
  'first-write',
  'hand-written',
  'nestjs-cls-transactional',
  'mikro-orm-nestjs',
  'request-scope',
  'typeorm',
  'drizzle',
  'bare-interceptor',
  'no-database',
];

/** Of {@link SUMMARY}, those of which a request without the database is that of another candidate. */
export const SAME_WITHOUT_DATABASE: readonly Candidate[] = [
  'first-write',
  'hand-written',
  'typeorm',
  'drizzle',
];

/** Whole stacks that share nothing with the library but Nest and `pg`. */
const OTHER_ORMS: readonly Candidate[] = ['typeorm', 'drizzle'];

export function isOtherOrm(candidate: Candidate): boolean {
  return OTHER_ORMS.includes(candidate);
}

/** What a table calls a candidate. */
export function titleOf(candidate: Candidate): string {
  return isOtherOrm(candidate) ? `${candidate} (other ORM)` : candidate;
}

/** All that may be asked for by name. */
export const ALL_CANDIDATES: readonly Candidate[] = [...new Set([...CANDIDATES, ...OBSERVED])];

export const ADAPTERS = ['fastify', 'express'] as const;

export type Adapter = (typeof ADAPTERS)[number];
