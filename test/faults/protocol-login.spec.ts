import {
  authentication,
  errorResponse,
  message,
  notice,
  parameterStatus,
  readyForQuery,
} from '../support/backend-messages.js';
import { describeProtocolFaults, type ProtocolFault } from './support/describe-protocol-faults.js';
import { byteByByte } from './support/misbehaviours.js';

const FAILED = { answers: ['500 ConnectionFailedError'], saved: 'nothing' } as const;
const LATE = {
  limits: { acquireTimeoutMs: 1_500 },
  answers: ['500 ConnectionFailedError', '500 AcquireTimeoutError'],
  saved: 'nothing',
} as const;

const connecting: readonly ProtocolFault[] = [
  {
    title: 'F1: a server that hangs up as it is connected to',
    arrange: (server) => server.on('connect', /^/, ({ socket }) => socket.destroy()),
    ...FAILED,
    clients: 'destroyed',
  },
  {
    title: 'F1, F6: a server that says nothing',
    arrange: (server) => server.on('login', /^/, () => undefined),
    ...LATE,
    clients: 'destroyed',
  },
  {
    title: 'F1, F6: a server of another protocol',
    arrange: (server) =>
      server.on('connect', /^/, (connection) =>
        connection.send(Buffer.from('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')),
      ),
    ...LATE,
    clients: 'destroyed',
  },
];

const loggingIn: readonly ProtocolFault[] = [
  {
    title: 'F1, F6: authentication that never ends',
    // The client answers each request with its password, and the server asks again.
    arrange: (server) =>
      server.on('login', /^/, (connection) => {
        setTimeout(() => connection.send(authentication(3)), 20);
      }),
    ...LATE,
    clients: 'destroyed',
  },
  {
    title: 'F1: a way of authentication that pg does not know',
    arrange: (server) =>
      server.on('login', /^/, (connection) => connection.send(authentication(7))),
    ...FAILED,
    clients: 'destroyed',
  },
  {
    title: 'F1: SASL without a mechanism',
    isVariant: true,
    arrange: (server) =>
      server.on('login', /^/, (connection) =>
        connection.send(message('R', Buffer.from([0, 0, 0, 10, 0]))),
      ),
    ...FAILED,
    clients: 'destroyed',
  },
  {
    title: 'F1: a refusal without fields, on a connection that stays open',
    arrange: (server) =>
      server.on('login', /^/, (connection) => connection.send(message('E', '\0'))),
    ...FAILED,
    clients: 'destroyed',
  },
  {
    title: 'F1: a server that stops with its first ReadyForQuery',
    arrange: (server) =>
      server.on('login', /^/, (connection, honest) => {
        const text = 'terminating connection due to administrator command';
        connection.send(...honest, errorResponse('FATAL', '57P01', text));
        connection.socket.end();
      }),
    answers: ['500 ConnectionFailedError', '500 DriverException', '500 TransactionAbortedError'],
    saved: 'nothing',
    clients: 'destroyed',
  },
  {
    title: 'F1: no authentication and no key, but ReadyForQuery',
    arrange: (server) =>
      server.on('login', /^/, (connection) => connection.send(readyForQuery('I'))),
    answers: ['200'],
    saved: 'all',
    clients: 'kept',
  },
  {
    title: 'F1: all of a log-in twice, between notices and parameters',
    isVariant: true,
    arrange: (server) =>
      server.on('login', /^/, (connection, honest) => {
        const twice = honest.slice(0, -1).flatMap((each) => [each, notice('again'), each]);
        connection.send(...twice, parameterStatus('', ''), readyForQuery('I'));
      }),
    answers: ['200'],
    saved: 'all',
    clients: 'kept',
  },
  {
    title: 'F1: a log-in byte by byte',
    arrange: (server) => server.on('login', /^/, byteByByte(1)),
    answers: ['200'],
    saved: 'all',
    clients: 'kept',
  },
];

describeProtocolFaults('as it connects', connecting);
describeProtocolFaults('at log-in', loggingIn);
