import { isOtherOrm, type Candidate } from './candidates.js';

const WITHOUT_DATABASE: readonly Candidate[] = [
  'no-database',
  'bare-interceptor',
  'bare-middleware',
];
/** What hands a manager of MikroORM on, or ends its unit early, and has no meaning on another ORM. */
const MIKRO_ORM_ONLY: readonly string[] = ['ten-services', 'wait-holding', 'wait-released'];

/** The requests that clients send to an application. */
export interface Workload {
  /** The name of the workload, and its path unless `path` is given. */
  readonly name: string;
  readonly title: string;
  readonly method: 'GET' | 'POST';
  /** How many clients ask at the same time, when throughput is measured. */
  readonly clients: number;
  /** Whether its round trips are counted, and its latency is measured over links. */
  readonly isOverLinks: boolean;
  readonly usesDatabase: boolean;
  /** The path, where another workload has the same one. */
  readonly path?: string;
}

/** As many clients as the pool has connections, so that no request waits for one. */
const CLIENTS = 10;
const usual = { clients: CLIENTS, isOverLinks: true, usesDatabase: true } as const;

export const WORKLOADS: readonly Workload[] = [
  { ...usual, name: 'nothing', title: 'no database', method: 'GET', usesDatabase: false },
  { ...usual, name: 'one-read', title: 'one read', method: 'GET' },
  { ...usual, name: 'five-reads', title: 'five reads', method: 'GET' },
  { ...usual, name: 'one-insert', title: 'one insert', method: 'POST' },
  { ...usual, name: 'read-modify-write', title: 'read, modify, write', method: 'POST' },
  { ...usual, name: 'ten-services', title: 'ten services deep', method: 'GET' },
  {
    ...usual,
    name: 'crowd',
    title: '1,000 at once, one read each',
    method: 'GET',
    path: 'one-read',
    clients: 1_000,
    isOverLinks: false,
  },
  {
    ...usual,
    name: 'wait-holding',
    title: '50 ms elsewhere, inside',
    method: 'GET',
    clients: 100,
    isOverLinks: false,
  },
  {
    ...usual,
    name: 'wait-released',
    title: '50 ms elsewhere, after close()',
    method: 'GET',
    clients: 100,
    isOverLinks: false,
  },
];

/** Whether a candidate can run a workload. */
export function isFor(candidate: Candidate, { name, usesDatabase }: Workload): boolean {
  if (isOtherOrm(candidate)) {
    return !MIKRO_ORM_ONLY.includes(name);
  }
  return !usesDatabase || !WITHOUT_DATABASE.includes(candidate);
}

/** The path that all candidates serve a workload at. */
export function pathOf({ name, path }: Workload): string {
  return `/${path ?? name}`;
}
