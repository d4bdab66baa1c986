import {
  authentication,
  commandComplete,
  errorResponse,
  message,
  notice,
  parameterStatus,
  readyForQuery,
} from '../support/backend-messages.js';
import type { Misbehaviour } from '../support/fake-connection.js';
import { waitFor } from '../support/wait-for.js';
import { describeProtocolFaults, type ProtocolFault } from './support/describe-protocol-faults.js';
import { byteByByte, floodOf } from './support/misbehaviours.js';
import type { Handler } from './support/scenario.js';

const fails: Handler = async (work) => {
  await work.write('first');
  throw new RangeError('the handler failed');
};

const atCommit =
  (misbehave: Misbehaviour): ProtocolFault['arrange'] =>
  (server) =>
    server.on('sql', /^commit$/, misbehave);
const atRollback =
  (misbehave: Misbehaviour): ProtocolFault['arrange'] =>
  (server) =>
    server.on('sql', /^rollback$/, misbehave);
/** The server has committed, but has not said so. */
const UNKNOWN = {
  answers: ['500 CommitOutcomeUnknownError'],
  saved: 'all',
  clients: 'destroyed',
} as const;
const UNDONE = {
  handler: fails,
  answers: ['500 RangeError'],
  saved: 'nothing',
  clients: 'destroyed',
} as const;

const commits: readonly ProtocolFault[] = [
  {
    title: 'F4: COMMIT has the tag of an INSERT',
    arrange: atCommit((connection) =>
      connection.send(commandComplete('INSERT 0 1'), readyForQuery('I')),
    ),
    ...UNKNOWN,
  },
  {
    title: 'F4: COMMIT is answered with nothing but ReadyForQuery',
    arrange: atCommit((connection) => connection.send(readyForQuery('I'))),
    ...UNKNOWN,
  },
  {
    title: 'F4: COMMIT is answered twice',
    arrange: atCommit((connection, [tag, ready]) => connection.send(tag!, tag!, ready!)),
    ...UNKNOWN,
  },
  {
    title: 'F4: COMMIT is answered, and the transaction is still open, says ReadyForQuery',
    arrange: atCommit((connection, [tag]) => connection.send(tag!, readyForQuery('T'))),
    ...UNKNOWN,
  },
  {
    title: 'S6: COMMIT has the tag ROLLBACK',
    arrange: atCommit((connection) =>
      connection.send(commandComplete('ROLLBACK'), readyForQuery('I')),
    ),
    answers: ['500 UnexpectedRollbackError'],
    // PostgreSQL says this of a transaction that had failed, and its connection is as good as before.
    saved: 'unknown',
    clients: 'kept',
  },
  {
    title: 'F2: COMMIT is answered, and bytes that are no message follow',
    arrange: atCommit((connection, honest) =>
      connection.send(...honest, message('?', 'nothing that anybody knows')),
    ),
    answers: ['200'],
    saved: 'all',
    clients: 'destroyed',
  },
  {
    title: 'F4: FATAL instead of the answer to COMMIT',
    arrange: atCommit((connection) => {
      connection.send(errorResponse('FATAL', '57P01', 'terminating connection'));
      connection.socket.end();
    }),
    ...UNKNOWN,
  },
  {
    title: 'F4: an error without fields instead of the answer to COMMIT',
    arrange: atCommit((connection) => connection.send(message('E', '\0'), readyForQuery('I'))),
    ...UNKNOWN,
  },
  {
    title: 'F4: the connection closes in the middle of the answer to COMMIT',
    arrange: atCommit(({ socket }, honest) => socket.end(Buffer.concat(honest).subarray(0, 8))),
    ...UNKNOWN,
  },
  {
    title: 'F4, F6: notices without end instead of the answer to COMMIT',
    arrange: atCommit(floodOf(notice('flood'))),
    ...UNKNOWN,
  },
  {
    title: 'F4, F6: the answer to COMMIT byte by byte, slower than endTimeoutMs',
    arrange: atCommit(byteByByte(100)),
    ...UNKNOWN,
  },
];

const rollbacks: readonly ProtocolFault[] = [
  {
    title: 'F2: ROLLBACK has the tag of a COMMIT',
    arrange: atRollback((connection) =>
      connection.send(commandComplete('COMMIT'), readyForQuery('I')),
    ),
    ...UNDONE,
  },
  {
    title: 'F2: ROLLBACK is answered with nothing but ReadyForQuery',
    arrange: atRollback((connection) => connection.send(readyForQuery('I'))),
    ...UNDONE,
  },
  {
    title: 'F2: ROLLBACK is answered, and the status is one that does not exist',
    arrange: atRollback((connection, [tag]) => connection.send(tag!, readyForQuery('?'))),
    ...UNDONE,
  },
  {
    title: 'F2: ROLLBACK is refused',
    isVariant: true,
    arrange: atRollback((connection) =>
      connection.send(errorResponse('ERROR', 'XX000', 'no'), readyForQuery('T')),
    ),
    ...UNDONE,
  },
  {
    title: 'F2, F6: ROLLBACK is never answered',
    arrange: atRollback(() => undefined),
    ...UNDONE,
  },
];

/** Says something more once all clients are in the pool again. */
const inPool = (...messages: readonly Buffer[]): Pick<ProtocolFault, 'arrange' | 'afterwards'> => ({
  arrange: () => undefined,
  afterwards: async (server, app) => {
    await waitFor(() => app.pool().checkedOut === 0, { what: 'all clients to be in the pool' });
    server.connections.forEach((each) => each.misbehave(() => each.send(...messages)));
  },
});
const IDLE = { answers: ['200'], saved: 'all' } as const;

const idle: readonly ProtocolFault[] = [
  {
    title: 'F2: an answer that nobody has asked for, while the client is in the pool',
    ...inPool(commandComplete('SELECT 1'), readyForQuery('I')),
    ...IDLE,
    clients: 'destroyed',
  },
  {
    title: 'F2: an error without fields, while the client is in the pool',
    isVariant: true,
    ...inPool(message('E', '\0')),
    ...IDLE,
    clients: 'destroyed',
  },
  {
    title: 'F1: what the parser cannot read, while the client is in the pool',
    ...inPool(authentication(99)),
    ...IDLE,
    clients: 'destroyed',
  },
  {
    title: 'F1: notices and parameters, while the client is in the pool',
    ...inPool(notice('idle'), parameterStatus('TimeZone', 'Mars')),
    ...IDLE,
    clients: 'kept',
  },
];

describeProtocolFaults('at COMMIT', commits);
describeProtocolFaults('at ROLLBACK', rollbacks);
describeProtocolFaults('in the pool', idle);
