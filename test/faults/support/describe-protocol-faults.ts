import { FakeServer } from '../../support/fake-server.js';
import { waitFor } from '../../support/wait-for.js';
import { serveNext } from './inject-fault.js';
import type { Handler } from './scenario.js';
import { IS_FULL, TIMES } from './times.js';
import { POOL_SIZE, startLibraryApp, type Answer, type LibraryApp, type Limits } from './world.js';

/** Limits of the library, in milliseconds. None is met but by what the server never answers. */
const LIMITS: Limits = {
  acquireTimeoutMs: 12_000,
  transactionTimeoutMs: 8_000,
  endTimeoutMs: 700,
  drainTimeoutMs: 300,
};

/** The sum of them, with time for two slow cores: a request that takes longer hangs. */
const HANG_MS = 25_000;
const TEST_LIMIT_MS = 40_000;

/** One row of a table of faults of the protocol; its title begins with the promises that it proves. */
export interface ProtocolFault {
  readonly title: string;
  /** Much like another one: left out of the short form. */
  readonly isVariant?: boolean;
  /** What each request does; by default it saves one row. */
  readonly handler?: Handler;
  /** Smaller limits, where it is them that end what the server does. */
  readonly limits?: Limits;
  /** Has the server misbehave. */
  readonly arrange: (server: FakeServer) => void;
  /** Called when the requests have been answered, before the server is honest again. */
  readonly afterwards?: (server: FakeServer, app: LibraryApp) => unknown;
  /** What each client may get: the status, and the class of the error. */
  readonly answers: readonly string[];
  /** What the server has committed of the requests that failed. */
  readonly saved: 'all' | 'nothing' | 'unknown';
  /** Whether what the server did is a fault, so that its connections must serve nobody else. */
  readonly clients: 'destroyed' | 'kept' | 'any';
}

/** Declares the tests of a family of faults of the protocol, each with a server and an application of its own. */
export function describeProtocolFaults(family: string, faults: readonly ProtocolFault[]): void {
  describe(`faults: the protocol, ${family}`, () => {
    let server: FakeServer;
    let app: LibraryApp;

    beforeEach(async () => {
      server = await FakeServer.start();
    });
    afterEach(async () => {
      await app.close();
      await server.stop();
    });

    const own = faults.filter(({ isVariant = false }) => IS_FULL || !isVariant);
    it.each(own.map((fault) => [fault.title, fault] as const))(
      '%s',
      async (_, fault) => {
        app = await startLibraryApp(
          { clientUrl: server.url, driverOptions: {} },
          { ...LIMITS, ...fault.limits },
        );
        fault.arrange(server);
        app.scenario.handler = fault.handler ?? ((work) => work.write('row'));
        const keys = Array.from({ length: TIMES }, (_each, index) => `key-${index}`);
        const answers = await Promise.all(keys.map((key) => app.ask(key, { limitMs: HANG_MS })));
        await fault.afterwards?.(server, app);
        expect(answers.map(describeAnswer).filter((each) => !fault.answers.includes(each))).toEqual(
          [],
        );
        expectSaved(fault, answers);
        await expectClients(fault);
        server.heal();
        await expectServing();
      },
      TEST_LIMIT_MS,
    );

    /** A success is never told for what the server has not committed. */
    function expectSaved({ saved }: ProtocolFault, answers: readonly Answer[]): void {
      for (const { key, status } of answers) {
        const texts = app.scenario.written.get(key) ?? [];
        const found = texts.filter((text) => server.saved.includes(text));
        if (status === 200 || saved === 'all') {
          expect(found).toEqual(texts);
        } else if (saved === 'nothing') {
          expect(found).toEqual([]);
        }
      }
    }

    /** No slot is lost; a connection that misbehaved is closed, and began nothing afterwards. */
    async function expectClients({ clients }: ProtocolFault): Promise<void> {
      await waitFor(() => app.pool().checkedOut + app.pool().waiting === 0, {
        what: `all connections to be back, now ${JSON.stringify(app.pool())}`,
      });
      const faulty = server.connections.filter(({ misbehavedAt }) => misbehavedAt !== undefined);
      expect(faulty.length).toBeGreaterThan(0);
      if (clients === 'kept') {
        expect(faulty.filter(({ isClosed }) => isClosed)).toEqual([]);
      }
      if (clients !== 'destroyed') {
        return;
      }
      await waitFor(() => faulty.every(({ isClosed }) => isClosed), {
        what: 'the connections that misbehaved to be closed',
      });
      const begun = faulty.flatMap(({ log, misbehavedAt }) =>
        log.slice(misbehavedAt).filter((sql) => sql.startsWith('begin')),
      );
      expect(begun).toEqual([]);
    }

    async function expectServing(): Promise<void> {
      server.saved.length = 0;
      app.scenario.reset();
      const answers = await serveNext(app, { limitMs: HANG_MS });
      expect(answers.map(describeAnswer)).toEqual(answers.map(() => '200'));
      expect(server.saved.toSorted()).toEqual(answers.map(({ key }) => `${key}/row`).toSorted());
      expect(app.pool()).toMatchObject({ size: POOL_SIZE, checkedOut: 0, waiting: 0 });
    }
  });
}

function describeAnswer({ status, errorBody }: Answer): string {
  return errorBody === undefined ? String(status) : `${status} ${errorBody.error}`;
}
