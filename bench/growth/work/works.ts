import { contexts } from './contexts.js';
import { long } from './long.js';
import { services } from './services.js';
import type { Stand } from './stand.js';
import { stream } from './stream.js';
import { timed, type Work } from './timed.js';
import {
  connections,
  flush,
  oneRead,
  savepointsInARow,
  savepointsNested,
  statements,
} from './units.js';

/** What is measured for each curve, but for those over HTTP. */
export const WORKS: Readonly<Record<string, (stand: Stand) => Work>> = {
  statements: (stand) => timed(statements(stand)),
  flush: (stand) => timed(flush(stand)),
  services: (stand) => timed(services(stand)),
  connections: (stand) => timed(connections(stand)),
  'savepoints-nested': (stand) => timed(savepointsNested(stand)),
  'savepoints-in-a-row': (stand) => timed(savepointsInARow(stand)),
  'round-trip': (stand) => timed(oneRead(stand)),
  stream,
  contexts,
  long,
};
