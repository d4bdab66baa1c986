import { commandComplete, readyForQuery } from '../../support/backend-messages.js';
import type { Misbehaviour } from '../../support/fake-connection.js';
import type { Handler } from '../../faults/support/scenario.js';
import type { ComparedFault } from '../compared-fault.js';

const surplus =
  (tag: string, status: string): Misbehaviour =>
  (connection, honest) => {
    connection.send(commandComplete(tag), readyForQuery(status));
    connection.send(...honest);
  };

const writeTwice: Handler = async (work) => {
  await work.insert('first');
  await work.insert('second');
};

/** What a server, or a proxy before it, that breaks the protocol does. */
export const PROTOCOL_FAULTS: readonly ComparedFault[] = [
  {
    title: 'a surplus answer before that of a statement',
    proofs: ['test/faults/protocol-statements.spec.ts'],
    misbehave: (server) => server.on('sql', /second'/, surplus('INSERT 0 1', 'T')),
    handler: () => writeTwice,
  },
  {
    title: 'a surplus answer before that of COMMIT',
    proofs: ['test/faults/protocol-ends.spec.ts'],
    misbehave: (server) => server.on('sql', /^commit/, surplus('COMMIT', 'I')),
    handler: () => writeTwice,
  },
  {
    title: 'COMMIT is swallowed, and answered with nothing but ReadyForQuery',
    proofs: ['test/faults/protocol-ends.spec.ts'],
    misbehave: (server) =>
      server.on('sql', /^commit/, (connection) => {
        // The two rows that it has just saved.
        server.saved.splice(-2);
        connection.send(readyForQuery('I'));
      }),
    handler: () => writeTwice,
  },
];
