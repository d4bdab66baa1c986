import {
  commandComplete,
  dataRow,
  errorResponse,
  int32,
  message,
  notice,
  notification,
  parameterStatus,
  readyForQuery,
  rowDescription,
} from '../support/backend-messages.js';
import type { Misbehaviour } from '../support/fake-connection.js';
import { describeProtocolFaults, type ProtocolFault } from './support/describe-protocol-faults.js';
import { byteByByte, floodOf } from './support/misbehaviours.js';
import type { Handler } from './support/scenario.js';

const writesTwice: Handler = async (work) => {
  await work.write('first');
  await work.write('second');
};
const writesAndCatches: Handler = async (work) => {
  await work.write('first');
  await work.insert('second').catch(() => undefined);
};

/** The message that begins a transaction, and holds its first statement. */
const BEGIN = /^begin/;
/** A statement in a transaction that has begun. */
const SECOND = /second'/;
/** BEGIN in a message of its own, since nothing is to be sent yet. */
const BEGIN_ALONE = /^begin$/;
const beginsAlone: Handler = async (work) => {
  await work.session.begin();
  await work.insert('row');
};

const at =
  (pattern: RegExp, misbehave: Misbehaviour): ProtocolFault['arrange'] =>
  (server) =>
    server.on('sql', pattern, misbehave);
const DESTROYED = { saved: 'nothing', clients: 'destroyed' } as const;
const KEPT = { answers: ['200'], saved: 'all', clients: 'kept' } as const;
const FAILED = ['500 DriverException', '500 TransactionAbortedError'];
const UNCLEAR = ['500 ProtocolViolationError'];
const LATE = {
  limits: { transactionTimeoutMs: 800 },
  answers: ['500 TransactionTimeoutError'],
} as const;

const beginning: readonly ProtocolFault[] = [
  {
    title: 'F4: BEGIN and the first statement are answered with nothing but ReadyForQuery',
    arrange: at(BEGIN, (connection) => connection.send(readyForQuery('T'))),
    handler: (work) => work.insert('row'),
    answers: UNCLEAR,
    ...DESTROYED,
  },
  {
    title: 'F4: BEGIN is answered, and its first statement is not',
    arrange: at(BEGIN, (connection) =>
      connection.send(commandComplete('BEGIN'), readyForQuery('T')),
    ),
    handler: (work) => work.insert('row'),
    answers: UNCLEAR,
    ...DESTROYED,
  },
  {
    title: 'F4: BEGIN has a tag of something else',
    arrange: at(BEGIN, (connection, [, ...honest]) =>
      connection.send(commandComplete('SET'), ...honest),
    ),
    answers: UNCLEAR,
    ...DESTROYED,
  },
  {
    title: 'F3: after BEGIN there is no transaction, says ReadyForQuery',
    arrange: at(BEGIN, (connection, honest) =>
      connection.send(...honest.slice(0, -1), readyForQuery('I')),
    ),
    handler: writesTwice,
    answers: ['500 InvalidTransactionStateError', '500 TransactionAbortedError'],
    ...DESTROYED,
  },
  {
    title: 'F4: BEGIN alone is answered with nothing but ReadyForQuery',
    arrange: at(BEGIN_ALONE, (connection) => connection.send(readyForQuery('T'))),
    handler: beginsAlone,
    answers: UNCLEAR,
    ...DESTROYED,
  },
  {
    title: 'F4: an answer that nobody has asked for comes as a transaction begins',
    arrange: at(BEGIN, (connection, honest) => {
      connection.send(commandComplete('COMMIT'), readyForQuery('I'));
      connection.send(...honest);
    }),
    answers: UNCLEAR,
    ...DESTROYED,
  },
  {
    title: 'F1: BEGIN is answered with FATAL, on a connection that stays open',
    arrange: at(BEGIN, (connection) =>
      connection.send(errorResponse('FATAL', '57P01', 'terminating connection')),
    ),
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1, F6: BEGIN is never answered',
    isVariant: true,
    arrange: at(BEGIN, () => undefined),
    ...LATE,
    ...DESTROYED,
  },
];

const statements: readonly ProtocolFault[] = [
  {
    title: 'F4: a statement is answered with nothing but ReadyForQuery, and its failure is caught',
    arrange: at(SECOND, (connection) => connection.send(readyForQuery('T'))),
    handler: writesAndCatches,
    answers: ['500 UnexpectedRollbackError'],
    ...DESTROYED,
  },
  {
    title: 'F4: a second ReadyForQuery comes when the next statement is under way',
    arrange: at(SECOND, (connection, honest) => {
      connection.send(readyForQuery('T'));
      connection.send(...honest);
    }),
    handler: writesTwice,
    answers: UNCLEAR,
    ...DESTROYED,
  },
  {
    title: 'F4: an insert has the tag of a COMMIT',
    arrange: at(SECOND, (connection) =>
      connection.send(commandComplete('COMMIT'), readyForQuery('T')),
    ),
    handler: writesTwice,
    answers: ['500 InvalidTransactionStateError'],
    ...DESTROYED,
  },
  {
    title: 'F1: a row that was not described',
    arrange: at(SECOND, (connection) => connection.send(dataRow(['1']), readyForQuery('T'))),
    handler: writesTwice,
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1: a row with more columns than were described',
    isVariant: true,
    arrange: at(SECOND, (connection) =>
      connection.send(
        rowDescription([{ name: 'id', type: 'integer' }]),
        dataRow(['1', '2', '3']),
        commandComplete('INSERT 0 1'),
        readyForQuery('T'),
      ),
    ),
    handler: writesTwice,
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1: a description that ends before its fields do',
    arrange: at(SECOND, (connection) =>
      connection.send(message('T', Buffer.from([0, 9, 105, 100, 0]))),
    ),
    handler: writesTwice,
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1: bytes that are no message',
    arrange: at(SECOND, (connection) =>
      connection.send(message('?', 'nothing that anybody knows'), readyForQuery('T')),
    ),
    handler: writesTwice,
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1, F6: a message that claims to be 2 GiB long',
    arrange: at(SECOND, (connection) => connection.send(message('D', int32(1), 2 ** 31))),
    handler: writesTwice,
    ...LATE,
    ...DESTROYED,
  },
  {
    title: 'F1, F6: rows without end',
    arrange: at(SECOND, (connection, honest) => {
      connection.send(honest[0]!);
      void floodOf(dataRow(['1']))(connection, honest);
    }),
    handler: writesTwice,
    ...LATE,
    ...DESTROYED,
  },
  {
    title: 'F1: an error without fields',
    arrange: at(SECOND, (connection) => connection.send(message('E', '\0'), readyForQuery('E'))),
    handler: writesAndCatches,
    answers: ['500 UnexpectedRollbackError'],
    ...DESTROYED,
  },
  {
    title: 'F1: FATAL, on a connection that stays open',
    isVariant: true,
    arrange: at(SECOND, (connection) =>
      connection.send(errorResponse('FATAL', '57P01', 'terminating connection')),
    ),
    handler: writesTwice,
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1: the connection closes in the middle of a message',
    arrange: at(SECOND, ({ socket }, honest) => socket.end(Buffer.concat(honest).subarray(0, 20))),
    handler: writesTwice,
    answers: FAILED,
    ...DESTROYED,
  },
  {
    title: 'F1: an insert is answered with COPY',
    arrange: at(SECOND, (connection) => connection.send(message('G', Buffer.from([0, 0, 0])))),
    handler: writesTwice,
    answers: FAILED,
    saved: 'nothing',
    clients: 'any',
  },
  {
    title: 'F1: 10,000 notices before the answer',
    arrange: at(SECOND, (connection, honest) =>
      connection.send(...Array.from({ length: 10_000 }, () => notice('flood')), ...honest),
    ),
    handler: writesTwice,
    ...KEPT,
  },
  {
    title: 'F1: parameters and notifications between the messages of an answer',
    arrange: at(SECOND, (connection, honest) => {
      const more = [parameterStatus('TimeZone', 'Mars'), notification('channel', 'payload')];
      connection.send(...more, ...honest.flatMap((each) => [each, ...more]));
    }),
    handler: writesTwice,
    ...KEPT,
  },
  {
    title: 'F1: an answer byte by byte',
    arrange: at(SECOND, byteByByte(1)),
    handler: writesTwice,
    ...KEPT,
  },
];

describeProtocolFaults('as a transaction begins', beginning);
describeProtocolFaults('in statements', statements);
